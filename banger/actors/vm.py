"""One VM: its requests.

The actor's loop only answers and admits operations; an operation (create, start, stop,
delete …) runs beside it, and the state it sets keeps others out until it has ended. What
happens to the VMM meanwhile is seen by the task that watches it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import trio

from banger.actors.blocking import run_blocking
from banger.actors.console import Console
from banger.actors.services import Services
from banger.actors.vm_change import change
from banger.actors.vm_lifetime import LifetimeWatch
from banger.actors.vm_operations import Operations
from banger.actors.vm_pause import pause, resume
from banger.actors.vm_recovery import recover
from banger.actors.vm_requests import (
    Change,
    Create,
    Delete,
    Describe,
    GetConsole,
    GetLink,
    GetLinkForHooks,
    GetRecord,
    Look,
    Pause,
    Restart,
    Restore,
    Resume,
    Seen,
    Snapshot,
    Start,
    Stop,
    Suspend,
)
from banger.actors.vm_runtime import Runtime
from banger.actors.vm_standing import Standing
from banger.actors.vm_suspend import suspend
from banger.actors.vm_view import vm_view
from banger.actors.vmm_watch import VmmWatch
from banger.kernel.actor import (
    Actor,
    Envelope,
    Inbox,
    sole_declared_error,
)
from banger.kernel.errors import BangerError, IllegalState
from banger.kernel.message import Request
from banger.model.events import OperationEnded, VmGone
from banger.model.vm import ENDED, Verb, VmRecord, VmState, VmView, guard

Operation = Callable[[], Awaitable[object]]
"""What it returns is the reply; None: the VM as it is shown, or nothing when it is deleted."""


class VmActor(Actor):
    """``fresh`` is the record of a VM about to be created; None: read it from the store."""

    def __init__(self, services: Services, name: str, *, fresh: VmRecord | None = None) -> None:
        self.name = f"vm/{name}"
        self._services = services
        self._vm = name
        self._fresh = fresh
        self._console = Console(services.store.directory(name))
        self._busy = ""
        """What is being done to the VM while its state stays: "changed", "paused" …"""

    async def run(self, inbox: Inbox) -> None:
        record = self._fresh
        if record is None and (record := await run_blocking(self._load)) is None:
            return
        self._standing = Standing(self._services, record)
        watch = VmmWatch(self._console)
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                self._runtime = Runtime(
                    self._services, self._standing, watch, nursery, at_rest=self._remove_if_wanted
                )
                self._operations = Operations(self._services, self._standing, self._runtime)
                if self._fresh is None and not await self._recover():
                    return
                lifetime = LifetimeWatch(self._standing, self._runtime, self._console, self._order)
                nursery.start_soon(lifetime.delete_in_time)
                nursery.start_soon(lifetime.stop_when_idle)
                async for envelope in inbox:
                    self._take(envelope)
        finally:
            # Not before the operations have ended: what they undo needs the machine.
            self._console.end()
            watch.let_go()

    def _load(self) -> VmRecord | None:
        try:
            return self._services.store.load(self._vm)
        except FileNotFoundError:
            return None

    async def _recover(self) -> bool:
        if await recover(self._services, self._standing, self._runtime):
            return True
        self._standing.publish(VmGone(self._vm))
        return False

    async def _order(self, request: Request[Any]) -> object:
        """Ask ourselves, by the way that all requests take."""
        envelope = Envelope[Any](request, self.name)
        self._take(envelope)
        return await envelope.outcome()

    def _remove_if_wanted(self) -> None:
        if self._to_be_removed:
            self._take(Envelope(Delete(), self.name))

    @property
    def _to_be_removed(self) -> bool:
        return self._standing.record.lifetime.remove and self._standing.state in ENDED

    # --- requests ---

    def _take(self, envelope: Envelope[Any]) -> None:
        match envelope.request:
            case (
                Create()
                | Start()
                | Stop()
                | Restart()
                | Pause()
                | Resume()
                | Snapshot()
                | Suspend()
                | Restore()
                | Change()
                | Delete()
            ) as verb:
                try:
                    operation = self._admit(verb, envelope)
                except BangerError as error:
                    envelope.fail(error)
                else:
                    self._nursery.start_soon(self._operate, envelope, operation)
            case query:
                with envelope:
                    envelope.reply(self._answer(query))

    def _answer(self, query: Request[Any]) -> object:
        match query:
            case Describe():
                return self._view()
            case Look():
                return Seen(self._standing.seen, self._standing.record.options)
            case GetRecord():
                return self._standing.record
            case GetConsole():
                return self._console
            case GetLink():
                guard(self._vm, self._standing.state, Verb.EXEC)
                return self._runtime.link
            case GetLinkForHooks():
                link = self._operations.link
                if link is None or self._standing.state is VmState.PAUSED:
                    raise IllegalState(f"the guest of VM {self._vm!r} can't be talked to yet")
                return link
        raise AssertionError(query)

    def _admit(self, verb: Request[Any], envelope: Envelope[Any]) -> Operation:
        """Check the state, enter the next one, and say what is to be done."""
        if self._busy:
            raise IllegalState(f"VM {self._vm!r} is just being {self._busy}", hint="try again")
        match verb:
            case Create():
                return lambda: self._operations.create(verb, envelope)
            case Start():
                guard(self._vm, self._standing.state, Verb.START)
                before = self._standing.state
                self._standing.enter(VmState.STARTING)
                return lambda: self._operations.start(verb.fault, before, envelope)
            case Stop():
                guard(self._vm, self._standing.state, Verb.STOP)
                if self._standing.state is VmState.SUSPENDED:
                    return self._forget_memory(force=verb.force)
                paused = self._standing.state is VmState.PAUSED
                self._standing.enter(VmState.STOPPING)
                return lambda: self._operations.stop(
                    force=verb.force, paused=paused, reason=verb.reason
                )
            case Restart():
                guard(self._vm, self._standing.state, Verb.RESTART)
                self._standing.enter(VmState.STOPPING)
                return lambda: self._operations.restart(envelope)
            case Change():
                guard(self._vm, self._standing.state, Verb.SET)
                return self._aside(
                    "changed",
                    lambda: change(self._services, self._standing, self._runtime, envelope),
                )
            case Pause():
                guard(self._vm, self._standing.state, Verb.PAUSE)
                return self._aside("paused", lambda: pause(self._standing, self._runtime))
            case Resume():
                guard(self._vm, self._standing.state, Verb.RESUME)
                return self._aside("resumed", lambda: resume(self._standing, self._runtime))
            case Suspend():
                guard(self._vm, self._standing.state, Verb.SUSPEND)
                before = self._standing.state
                self._standing.enter(VmState.STOPPING)
                return lambda: suspend(self._standing, self._runtime, before)
            case Restore():
                guard(self._vm, self._standing.state, Verb.RESTORE)
                self._standing.enter(VmState.STARTING)
                return lambda: self._operations.restore(verb)
            case Snapshot(name, store, brief):
                guard(self._vm, self._standing.state, Verb.SNAPSHOT)
                return self._aside(
                    "snapshotted",
                    lambda: self._operations.snapshot(store, name, envelope, brief=brief),
                )
            case Delete():
                guard(self._vm, self._standing.state, Verb.DELETE)
                self._standing.enter(VmState.DELETING)
                return self._operations.delete
        raise AssertionError(verb)

    async def _operate(self, envelope: Envelope[Any], operation: Operation) -> None:
        name = type(envelope.request).__name__.lower()
        begun = trio.current_time()
        problem = ""
        failure: BaseException | None = None
        removing = isinstance(envelope.request, Delete)
        with envelope:
            try:
                result = await operation()
                if envelope.abandoned.is_set():
                    problem = "its client went away"
                if result is None and not removing:
                    result = self._view()
                if self._to_be_removed:
                    # Whoever waits for the stop finds the VM gone.
                    removing = True
                    self._standing.enter(VmState.DELETING)
                    await self._operations.delete()
                envelope.reply(result)
            except BaseException as error:
                failure = error
                crash = repr(error) if isinstance(error, Exception) else "interrupted"
                problem = str(sole_declared_error(error) or crash)
                raise
            finally:
                duration_ms = (trio.current_time() - begun) * 1000
                self._standing.publish(OperationEnded(self._vm, name, duration_ms, problem))
        if failure is not None and (removing or self._standing.state is VmState.STOPPING):
            # It stopped half-way, and what is true now is found out by a fresh start.
            raise RuntimeError(f"{name} of VM {self._vm!r} failed half-way") from failure
        if self._to_be_removed:  # after a restart that came half-way
            self._take(Envelope(Delete(), self.name))
        elif removing or self._standing.state is VmState.CREATING:
            # Deleted, by this operation and no other, or undone: there is nothing left.
            self._standing.publish(VmGone(self._vm))
            self._nursery.cancel_scope.cancel()

    def _aside(self, participle: str, operation: Operation) -> Operation:
        """An operation that leaves the VM in its state, and alone with it until its end."""
        self._busy = participle

        async def alone() -> object:
            try:
                return await operation()
            finally:
                self._busy = ""

        return alone

    def _forget_memory(self, *, force: bool) -> Operation:
        if not force:
            raise IllegalState(
                f"VM {self._vm!r} is suspended",
                hint=f"'banger vm start {self._vm}' lets it go on; 'banger vm stop --force "
                f"{self._vm}' throws away what is in its memory",
            )
        self._standing.enter(VmState.STOPPING)
        return self._operations.forget

    def _view(self) -> VmView:
        record, capabilities = self._standing.record, self._services.capabilities
        return vm_view(
            record,
            state=self._standing.state,
            reason=self._standing.reason,
            notes=list(self._standing.notes),
            machine=self._runtime.vmm.machine,
            tap=self._standing.lease.tap if self._standing.lease else None,
            options=capabilities.shown(record.options),
            directory=self._standing.directory,
        )
