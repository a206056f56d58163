"""The life of one VM: the hooks are called when and as the daemon calls them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from banger.capabilities.guest import GuestPlan
from banger.capabilities.hooks import Hooks, Undo, undo_all
from banger.capabilities.host import Vm
from banger.kernel.errors import BangerError
from banger.model.vm import OptionValues, Verb, VmState, guard
from banger.testing.guest import FakeGuest

if TYPE_CHECKING:
    from banger.testing.daemon import FakeDaemon
    from banger.testing.host import FakeHost


class InjectedFault(BangerError):
    """The failure that a test has asked for."""


class Life:
    """One VM of a `FakeDaemon`. Methods raise what ``banger`` would show, `BangerError`.

    ``fail_after`` names a hook: right after it the operation fails with `InjectedFault`, and
    what was done is undone.
    """

    def __init__(self, daemon: FakeDaemon, vm: Vm, guest: FakeGuest) -> None:
        self.guest = guest
        self.options: OptionValues = {}
        """As they are recorded: by capability and field."""
        self.progress: list[tuple[str, str, str]] = []
        """What hooks told by `Step.progress`: capability, hook, text."""
        self._daemon = daemon
        self._hooks = Hooks(daemon.registry, lambda *what: self.progress.append(what))
        self._whole = vm
        self._state = VmState.CREATING
        self._has_address = False
        self._tap = ""

    @property
    def host(self) -> FakeHost:
        """The `FakeHost` of the capability under test."""
        return self._daemon.host

    @property
    def vm(self) -> Vm:
        """As a hook would see it now."""
        if self._has_address:
            network = self._whole.network if self._tap else None
            return msgspec.structs.replace(
                self._whole, state=self._state, tap=self._tap, network=network
            )
        return msgspec.structs.replace(
            self._whole, state=self._state, address="", mac="", tap="", network=None
        )

    def options_of(self, capability: str) -> Any:
        return self._daemon.registry.options(capability, self.options)

    # --- operations ---

    async def create(
        self, given: Mapping[str, object] | None = None, *, start: bool = True, fail_after: str = ""
    ) -> None:
        """As ``vm create``; `FakeDaemon.create` calls it."""
        with self._daemon.watched():
            self.options = self._daemon.registry.decide({self._daemon.name: given or {}})
            await self._hooks.admit(self.vm, self.options)
            _strike(fail_after, "admit")
            self._whole.directory.mkdir(parents=True)
            try:
                self._has_address = True
                if start:
                    await self._bring_up(fail_after)
            except BaseException:
                shutil.rmtree(self._whole.directory)
                raise
            self._state = VmState.RUNNING if start else VmState.STOPPED

    async def start(self, *, fail_after: str = "") -> None:
        guard(self.vm.name, self._state, Verb.START)
        before, self._state = self._state, VmState.STARTING
        with self._daemon.watched():
            try:
                await self._hooks.admit(self.vm, self.options)
                _strike(fail_after, "admit")
                await self._bring_up(fail_after)
            except BaseException:
                self._state = before
                raise
            self._state = VmState.RUNNING

    async def change(self, *, fail_after: str = "", **fields: object) -> None:
        """As ``vm set``: these options of the capability under test."""
        await self.set_options(self._daemon.name, fields, fail_after=fail_after)

    async def set_options(
        self, capability: str, fields: Mapping[str, object], *, fail_after: str = ""
    ) -> None:
        guard(self.vm.name, self._state, Verb.SET)
        before, undo = self.options, list[Undo]()
        with self._daemon.watched():
            options = self._daemon.registry.change(before, {capability: fields})
            await self._hooks.admit(self.vm, options)
            _strike(fail_after, "admit")
            self.options = options
            try:
                await self._hooks.changed(self.vm, before, options, undo)
                _strike(fail_after, "changed")
            except BaseException:
                await undo_all(undo)
                self.options = before
                raise

    async def stop(self) -> None:
        guard(self.vm.name, self._state, Verb.STOP)
        self._state = VmState.STOPPING
        with self._daemon.watched():
            await self._hooks.stopping(self.vm, self.options)
            await self._free()
            self._state = VmState.STOPPED

    async def crash(self) -> None:
        """The VMM ends by itself: no `stopping`."""
        self._state = VmState.CRASHED
        with self._daemon.watched():
            await self._free()

    async def delete(self) -> None:
        """As ``vm delete``: a running VM gets no `stopping`; `stopped` is called in any case."""
        guard(self.vm.name, self._state, Verb.DELETE)
        self._state = VmState.DELETING
        with self._daemon.watched():
            await self._free()
            await self._hooks.deleted(self.vm, self.options)
            shutil.rmtree(self._whole.directory)
            self._daemon.forget(self.vm.name)

    async def adopt(self) -> None:
        """A daemon that has just started found it running; `FakeDaemon.restart` calls it."""
        self._hooks = Hooks(self._daemon.registry, lambda *what: self.progress.append(what))
        if self._state is VmState.RUNNING:
            with self._daemon.watched():
                await self._hooks.adopted(self.vm, self.options)

    # --- pieces ---

    async def _bring_up(self, fail_after: str) -> None:
        undo: list[Undo] = []
        self._tap = self._whole.tap
        try:
            await self._hooks.prepare(self.vm, self.options, undo)
            _strike(fail_after, "prepare")
            plan = self.contribution()
            _strike(fail_after, "contribute")
            self.guest.boot(plan)
            await self._hooks.started(self.vm, self.options, undo)
            _strike(fail_after, "started")
        except BaseException:
            self.guest.power_off()
            await undo_all(undo)
            self._tap = ""
            raise

    def contribution(self) -> GuestPlan:
        """What the guest would be told now."""
        return self._hooks.contribute(self.vm, self.options)

    async def _free(self) -> None:
        """`stopped` is told the TAP that the VM has, or would have."""
        self.guest.power_off()
        gone = msgspec.structs.replace(self.vm, tap=self._whole.tap)
        await self._hooks.stopped(gone, self.options)
        self._tap = ""

    async def again(self, hook: str) -> None:
        """Call a hook without options to change out of turn, to see that it copes."""
        vm = msgspec.structs.replace(self.vm, tap=self._whole.tap)
        with self._daemon.watched():
            await getattr(self._hooks, hook)(vm, self.options)

    async def admits(self, fields: Mapping[str, object]) -> bool:
        """Whether ``vm set`` would take these options of the capability under test."""
        with self._daemon.watched():
            try:
                given = {self._daemon.name: fields}
                options = self._daemon.registry.change(self.options, given)
                await self._hooks.admit(self.vm, options)
            except BangerError:
                return False
        return True


def _strike(fail_after: str, hook: str) -> None:
    if fail_after == hook:
        raise InjectedFault(f"injected fault after {hook}")
