"""Calls the hooks of all capabilities at a point in a VM's life.

Those that don't depend on each other run at once. See `Capability` for what a hook may do.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import trio

from banger.capabilities import guard
from banger.capabilities.capability import AnyCapability, overrides
from banger.capabilities.guest import GuestBuilder, GuestPlan
from banger.capabilities.host import Step, Vm
from banger.capabilities.options import Options
from banger.capabilities.registry import Given, Registry
from banger.kernel.actor import sole_declared_error
from banger.kernel.errors import BangerError, HostNotReady
from banger.kernel.stages import UNDO_DEADLINE_S

log = logging.getLogger(__name__)

Undo = Callable[[], Awaitable[None]]
Tell = Callable[[str, str, str], None]
"""Takes capability, hook and text."""
_Call = Callable[[AnyCapability, Options, Step], Awaitable[None]]


class Hooks:
    """The hooks around one VM's life. ``tell`` is told of progress and must not block."""

    def __init__(self, registry: Registry, tell: Tell, *, nameless: bool = False) -> None:
        """``nameless``: the VM has no name yet; those that need one are left out."""
        self._registry = registry
        self._tell = tell
        self._nameless = nameless

    def _active(self) -> dict[str, AnyCapability]:
        return {
            name: capability
            for name, capability in self._registry.active.items()
            if capability.nameless or not self._nameless
        }

    # --- these refuse and fail: what they raise is a `BangerError` ---

    async def admit(self, vm: Vm, options: Given) -> None:
        await self._run("admit", options, lambda c, o, _: c.admit(vm, o), [])

    async def prepare(self, vm: Vm, options: Given, undo: list[Undo]) -> None:
        """``undo`` collects what `undo_all` runs when the operation fails."""
        await self._run("prepare", options, lambda c, o, step: c.prepare(vm, o, step), undo)

    async def started(self, vm: Vm, options: Given, undo: list[Undo]) -> None:
        await self._run("started", options, lambda c, o, step: c.started(vm, o, step), undo)

    async def changed(self, vm: Vm, before: Given, options: Given, undo: list[Undo]) -> None:
        """Called for those whose options differ."""

        async def call(capability: AnyCapability, new: Options, step: Step) -> None:
            old = self._registry.options(capability.name, before)
            if old != new:
                await capability.changed(vm, old, new, step)

        await self._run("changed", options, call, undo)

    def contribute(self, vm: Vm, options: Given) -> GuestPlan:
        builder = GuestBuilder()
        for name, capability in self._active().items():
            own = self._registry.options(name, options)

            def work(capability: AnyCapability = capability, own: Options = own) -> None:
                pen = builder.by(capability.name, late_files=capability.late_files)
                capability.contribute(vm, own, pen)

            try:
                guard.call(work)
            except guard.Misbehaved as error:
                raise self._misbehaved(name, "contribute", error) from None
        return builder.build()

    # --- these can't be refused: what goes wrong is logged ---

    async def stopping(self, vm: Vm, options: Given) -> None:
        call: _Call = lambda c, o, step: c.stopping(vm, o, step)  # noqa: E731
        await self._run("stopping", options, call, [], backwards=True, must_go_on=True)

    async def stopped(self, vm: Vm, options: Given) -> None:
        call: _Call = lambda c, o, step: c.stopped(vm, o, step)  # noqa: E731
        await self._run("stopped", options, call, [], backwards=True, must_go_on=True)

    async def deleted(self, vm: Vm, options: Given) -> None:
        call: _Call = lambda c, o, step: c.deleted(vm, o, step)  # noqa: E731
        await self._run("deleted", options, call, [], backwards=True, must_go_on=True)

    async def adopted(self, vm: Vm, options: Given) -> None:
        call: _Call = lambda c, o, step: c.adopted(vm, o, step)  # noqa: E731
        await self._run("adopted", options, call, [], must_go_on=True)

    async def _run(
        self,
        hook: str,
        options: Given,
        call: _Call,
        undo: list[Undo],
        *,
        backwards: bool = False,
        must_go_on: bool = False,
    ) -> None:
        active = {n: c for n, c in self._active().items() if overrides(type(c), hook)}
        before = {name: set(c.after) & active.keys() for name, c in active.items()}
        if backwards:
            before = {n: {m for m, others in before.items() if n in others} for n in active}
        done = {name: trio.Event() for name in active}

        async def one(name: str, capability: AnyCapability) -> None:
            for other in before[name]:
                await done[other].wait()
            step = Step(lambda text: self._tell(name, hook, text))
            step.undo_steps = undo
            if name not in self._registry.active:
                # Another VM's operation has just turned it off.
                done[name].set()
                return
            try:
                own = self._registry.options(name, options)
                await guard.call_async(
                    lambda: call(capability, own, step), deadline_s=capability.deadline_s
                )
            except guard.Misbehaved as error:
                failure = self._misbehaved(name, hook, error)
                if not must_go_on:
                    raise failure from None
            except BangerError as error:
                if not must_go_on:
                    raise
                log.warning("capability %s, %s: %s", name, hook, error)
            done[name].set()

        try:
            async with trio.open_nursery() as nursery:
                for name, capability in active.items():
                    nursery.start_soon(one, name, capability)
        except BaseExceptionGroup as group:
            declared = sole_declared_error(group)
            if declared is None:
                raise
            raise declared from None

    def _misbehaved(self, name: str, hook: str, error: guard.Misbehaved) -> BangerError:
        reason = f"its hook '{hook}' {error}"
        self._registry.disable(name, reason)
        return HostNotReady(
            f"capability {name!r} is off from now on: {reason}",
            hint="without it the command may work; 'banger plugin show' tells whose it is",
        )


async def undo_all(steps: list[Undo]) -> None:
    """Run the undo steps, last first, shielded, each with a deadline; empties the list."""
    while steps:
        undo = steps.pop()
        try:
            with trio.CancelScope(shield=True):
                await guard.call_async(undo, deadline_s=UNDO_DEADLINE_S)
        except (guard.Misbehaved, BangerError):
            log.exception("an undo step of a capability failed")
