"""One VM: its requests and its operations.

The actor's loop only answers and admits operations; an operation (create, start, stop,
delete …) runs beside it, and the state it sets keeps others out until it has ended. What
happens to the VMM meanwhile is seen by the task that watches it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import trio

from banger.actors.blocking import run_blocking
from banger.actors.bring_up import BringUp
from banger.actors.console import Console
from banger.actors.origin import Origin
from banger.actors.services import Services
from banger.actors.shut_down import shut_down
from banger.actors.vm_change import change
from banger.actors.vm_freeze import freeze
from banger.actors.vm_lifetime import LifetimeWatch
from banger.actors.vm_pause import let_go_on, pause, resume
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
from banger.actors.vm_suspend import forget_memory, memory_file, origin, suspend
from banger.actors.vm_view import vm_view
from banger.actors.vmm_watch import VmmWatch
from banger.kernel.actor import (
    Actor,
    Envelope,
    Inbox,
    cancelled_when_abandoned,
    sole_declared_error,
)
from banger.kernel.errors import BangerError, IllegalState, VmmError
from banger.kernel.message import Fault, Request
from banger.kernel.stages import Stage, StageTiming, run_stages, undo_stages
from banger.kernel.store import RecordStore
from banger.model.events import OperationEnded, StageFinished, StageStarted, VmGone
from banger.model.snapshot import SnapshotRecord
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
        self._coming_up: BringUp | None = None
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
                link = self._coming_up.guest.link if self._coming_up else self._runtime.link
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
                return lambda: self._create(verb, envelope)
            case Start():
                guard(self._vm, self._standing.state, Verb.START)
                before = self._standing.state
                self._standing.enter(VmState.STARTING)
                return lambda: self._start(verb.fault, before, envelope)
            case Stop():
                guard(self._vm, self._standing.state, Verb.STOP)
                if self._standing.state is VmState.SUSPENDED:
                    return self._forget_memory(force=verb.force)
                paused = self._standing.state is VmState.PAUSED
                self._standing.enter(VmState.STOPPING)
                return lambda: self._stop(force=verb.force, paused=paused, reason=verb.reason)
            case Restart():
                guard(self._vm, self._standing.state, Verb.RESTART)
                self._standing.enter(VmState.STOPPING)
                return lambda: self._restart(envelope)
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
                return lambda: self._restore(verb)
            case Snapshot(name, store):
                guard(self._vm, self._standing.state, Verb.SNAPSHOT)
                return self._aside("snapshotted", lambda: self._snapshot(store, name, envelope))
            case Delete():
                guard(self._vm, self._standing.state, Verb.DELETE)
                self._standing.enter(VmState.DELETING)
                return self._delete
        raise AssertionError(verb)

    async def _operate(self, envelope: Envelope[Any], operation: Operation) -> None:
        name = type(envelope.request).__name__.lower()
        begun = trio.current_time()
        problem = ""
        failure: BaseException | None = None
        with envelope:
            try:
                result = await operation()
                if envelope.abandoned.is_set():
                    problem = "its client went away"
                if result is None and self._standing.state is not VmState.DELETING:
                    result = self._view()
                if self._to_be_removed:
                    # Whoever waits for the stop finds the VM gone.
                    self._standing.enter(VmState.DELETING)
                    await self._delete()
                envelope.reply(result)
            except BaseException as error:
                failure = error
                crash = repr(error) if isinstance(error, Exception) else "interrupted"
                problem = str(sole_declared_error(error) or crash)
                raise
            finally:
                duration_ms = (trio.current_time() - begun) * 1000
                self._standing.publish(OperationEnded(self._vm, name, duration_ms, problem))
        if failure is not None and self._standing.state in (VmState.STOPPING, VmState.DELETING):
            # It stopped half-way, and what is true now is found out by a fresh start.
            raise RuntimeError(f"{name} of VM {self._vm!r} failed half-way") from failure
        if self._to_be_removed:  # after a restart that came half-way
            self._take(Envelope(Delete(), self.name))
        elif self._standing.state in (VmState.CREATING, VmState.DELETING):
            # Undone or deleted: there is nothing left to be the actor of.
            self._standing.publish(VmGone(self._vm))
            self._nursery.cancel_scope.cancel()

    # --- operations ---

    async def _create(self, request: Create, envelope: Envelope[Any]) -> None:
        bring_up = self._bring_up(request.origin)
        stages = bring_up.create_stages(start=request.start, cold=request.cold)
        state = VmState.RUNNING if request.start else VmState.STOPPED
        async with cancelled_when_abandoned(envelope):
            await self._services.recovered.wait()
            await self._run_stages("create", bring_up, stages, state, request.fault)

    async def _start(self, fault: Fault | None, before: VmState, envelope: Envelope[Any]) -> None:
        try:
            async with cancelled_when_abandoned(envelope):
                await self._services.recovered.wait()
                async with self._runtime.cleaning:
                    await self._standing.save(state=VmState.STARTING)
                bring_up = self._bring_up(origin(self._standing))
                stages = bring_up.start_stages()
                await self._run_stages("start", bring_up, stages, VmState.RUNNING, fault)
        finally:
            if self._standing.state is VmState.STARTING:
                await self._not_started(before)
        await run_blocking(lambda: memory_file(self._standing.directory).unlink(missing_ok=True))

    async def _not_started(self, before: VmState) -> None:
        self._runtime.vmm.machine = None
        if before is VmState.SUSPENDED and self._standing.record.suspended is None:
            # The guest went on from its memory before the start failed.
            before = VmState.STOPPED
        with trio.CancelScope(shield=True):
            await self._standing.note(state=before, process=None)
        self._standing.enter(before, self._standing.record.reason)

    def _forget_memory(self, *, force: bool) -> Operation:
        if not force:
            raise IllegalState(
                f"VM {self._vm!r} is suspended",
                hint=f"'banger vm start {self._vm}' lets it go on; 'banger vm stop --force "
                f"{self._vm}' throws away what is in its memory",
            )
        self._standing.enter(VmState.STOPPING)
        return self._forget

    async def _forget(self) -> None:
        await forget_memory(self._standing)
        self._standing.enter(VmState.STOPPED)

    async def _restore(self, request: Restore) -> None:
        """From the first change on its former disks are gone, whatever becomes of the rest."""
        standing, runtime, snapshot = self._standing, self._runtime, request.snapshot
        try:
            if runtime.vmm.machine is not None:
                await runtime.vmm.machine.kill()
                await runtime.vmm.ended.wait()
            await runtime.free()
            await standing.save(
                state=VmState.STARTING,
                process=None,
                suspended=None,
                spec=snapshot.spec,
                # Those it lies on as yet, too, until its disks are made anew.
                layers=list(dict.fromkeys([*standing.record.layers, *snapshot.layers])),
            )
            bring_up = self._bring_up(Origin.of(snapshot, request.directory, same=True))
            stages = bring_up.restore_stages(snapshot.layers)
            await self._run_stages("restore", bring_up, stages, VmState.RUNNING, request.fault)
        finally:
            if standing.state is VmState.STARTING:
                await self._not_started(VmState.STOPPED)

    async def _stop(self, *, force: bool, paused: bool = False, reason: str = "") -> None:
        await self._standing.note(state=VmState.STOPPING)
        if paused and not force:
            # A guest that stands still can't shut down.
            await let_go_on(self._standing, self._runtime)
        await self._runtime.hooks.stopping(self._standing.seen, self._standing.record.options)
        if self._runtime.vmm.machine is not None:
            await shut_down(
                self._vm,
                self._runtime.vmm.machine,
                self._runtime.link,
                self._runtime.vmm.ended,
                force=force,
                timeout_s=self._services.stop_timeout_s,
            )
        await self._runtime.free()
        await self._standing.note(state=VmState.STOPPED, process=None, reason=reason)
        self._standing.enter(VmState.STOPPED, reason)

    async def _restart(self, envelope: Envelope[Any]) -> None:
        await self._stop(force=False)
        self._standing.enter(VmState.STARTING)
        await self._start(None, VmState.STOPPED, envelope)

    async def _snapshot(
        self, store: RecordStore[SnapshotRecord], name: str, envelope: Envelope[Any]
    ) -> SnapshotRecord | None:
        async with cancelled_when_abandoned(envelope):
            return await freeze(self._services, self._standing, self._runtime, store, name)
        return None

    def _aside(self, participle: str, operation: Operation) -> Operation:
        """An operation that leaves the VM in its state, and alone with it until its end."""
        self._busy = participle

        async def alone() -> object:
            try:
                return await operation()
            finally:
                self._busy = ""

        return alone

    async def _delete(self) -> None:
        async with self._runtime.cleaning:
            await self._standing.note(state=VmState.DELETING)
        await self._runtime.remove()

    def _bring_up(self, origin: Origin | None = None) -> BringUp:
        self._runtime.vmm.expect()
        self._coming_up = BringUp(
            self._services,
            self._standing.record,
            hooks=self._runtime.hooks,
            seen=self._standing.seen_as,
            attend=self._runtime.watch,
            vmm=self._runtime.vmm,
            origin=origin,
        )
        return self._coming_up

    async def _run_stages(
        self,
        operation: str,
        bring_up: BringUp,
        stages: list[Stage[None]],
        state: VmState,
        fault: Fault | None,
    ) -> None:
        """Bring the VM into the state, or leave nothing of the attempt."""

        def finished(timing: StageTiming) -> None:
            self._standing.publish(
                StageFinished(self._vm, operation, timing.name, timing.duration_ms, timing.note)
            )

        try:
            await run_stages(
                stages,
                None,
                started=lambda stage: self._standing.publish(
                    StageStarted(self._vm, operation, stage)
                ),
                finished=finished,
                fault=fault,
            )
            try:
                await self._settle(bring_up, state)
            except BaseException:
                await undo_stages(stages, None)
                raise
        except BaseException:
            # What was written of it is true, all the same.
            self._standing.record = msgspec.structs.replace(
                self._standing.record,
                suspended=bring_up.record.suspended,
                layers=bring_up.record.layers,
            )
            raise
        finally:
            self._coming_up = None

    async def _settle(self, bring_up: BringUp, state: VmState) -> None:
        """Take over what was brought up."""
        await bring_up.save(state=state, reason="")
        if self._runtime.vmm.ended.is_set():
            raise VmmError(await self._runtime.vmm.last_words())
        # From here on nothing waits, so nothing can be cancelled half-way.
        self._standing.record = bring_up.record
        self._runtime.link = bring_up.guest.link
        self._standing.lease = bring_up.lease
        self._standing.notes = bring_up.notes
        self._standing.enter(state)

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
