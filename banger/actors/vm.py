"""One VM: its state, its record, its VMM.

The actor's loop only answers and admits operations; an operation (create, start, stop,
delete …) runs beside it, and the state it sets keeps others out until it has ended. What
happens to the VMM meanwhile is seen by the task that watches it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import trio

from banger.actors.blocking import run_blocking
from banger.actors.bring_up import BringUp, initramfs, root_disk
from banger.actors.console import Console
from banger.actors.services import Services
from banger.actors.shut_down import shut_down
from banger.actors.tap_pool import LEASED_PREFIX, AcquireTap, ReleaseAddress, ReleaseTap, TapLease
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
    Restart,
    Seen,
    Start,
    Stop,
)
from banger.actors.vm_view import vm_view
from banger.actors.vmm_watch import VmmWatch
from banger.capabilities.hooks import Hooks, Undo, undo_all
from banger.capabilities.host import Vm
from banger.guest.link import AgentLink
from banger.host import process, qcow2
from banger.kernel.actor import (
    Actor,
    Envelope,
    Inbox,
    cancelled_when_abandoned,
    sole_declared_error,
)
from banger.kernel.errors import BangerError, HostNotReady, IllegalState, UsageError, VmmError
from banger.kernel.message import Fault, Request
from banger.kernel.stages import Stage, StageTiming, run_stages, undo_stages
from banger.model.events import (
    GuestRebooted,
    HookProgress,
    OperationEnded,
    StageFinished,
    StageStarted,
    VmGone,
    VmStateChanged,
)
from banger.model.sizes import show_size
from banger.model.vm import Verb, VmRecord, VmSpec, VmState, VmView, guard
from banger.vmm.base import Machine

log = logging.getLogger(__name__)

_HAS_VMM = (VmState.RUNNING, VmState.PAUSED)
_MAY_HAVE_UNRECORDED_VMM = (VmState.CREATING, VmState.STARTING, VmState.DELETING)


Operation = Callable[[], Awaitable[None]]


class VmActor(Actor):
    """``fresh`` is the record of a VM about to be created; None: read it from the store."""

    def __init__(self, services: Services, name: str, *, fresh: VmRecord | None = None) -> None:
        self.name = f"vm/{name}"
        self._services = services
        self._vm = name
        self._fresh = fresh
        self._console = Console(services.store.directory(name))
        self._vmm = VmmWatch(self._console)
        self._link: AgentLink | None = None
        self._lease: TapLease | None = None
        self._coming_up: BringUp | None = None
        self._hooks = Hooks(services.capabilities, self._tell)
        self._changing = False
        self._cleaning = trio.Lock()
        """Held while what an ended VMM had is given back; a start must not overtake that."""

    async def run(self, inbox: Inbox) -> None:
        record = self._fresh
        if record is None and (record := await run_blocking(self._load)) is None:
            return
        self._record = record
        self._state, self._reason = record.state, record.reason
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                if self._fresh is None:
                    await self._recover()
                async for envelope in inbox:
                    self._take(envelope)
        finally:
            # Not before the operations have ended: what they undo needs the machine.
            self._console.end()
            self._vmm.let_go()

    def _load(self) -> VmRecord | None:
        try:
            return self._services.store.load(self._vm)
        except FileNotFoundError:
            return None

    # --- requests ---

    def _take(self, envelope: Envelope[Any]) -> None:
        match envelope.request:
            case Create() | Start() | Stop() | Restart() | Change() | Delete() as verb:
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
                return Seen(self._seen(self._record, self._lease), self._record.options)
            case GetRecord():
                return self._record
            case GetConsole():
                return self._console
            case GetLink():
                guard(self._vm, self._state, Verb.EXEC)
                return self._link
            case GetLinkForHooks():
                link = self._coming_up.link if self._coming_up else self._link
                if link is None:
                    raise IllegalState(f"the guest of VM {self._vm!r} can't be talked to yet")
                return link
        raise AssertionError(query)

    def _admit(self, verb: Request[Any], envelope: Envelope[Any]) -> Operation:
        """Check the state, enter the next one, and say what is to be done."""
        if self._changing:
            raise IllegalState(f"VM {self._vm!r} is just being changed", hint="try again")
        match verb:
            case Create():
                return lambda: self._create(verb, envelope)
            case Start():
                guard(self._vm, self._state, Verb.START)
                before = self._state
                self._enter(VmState.STARTING)
                return lambda: self._start(verb.fault, before, envelope)
            case Stop():
                guard(self._vm, self._state, Verb.STOP)
                self._enter(VmState.STOPPING)
                return lambda: self._stop(force=verb.force)
            case Restart():
                guard(self._vm, self._state, Verb.RESTART)
                self._enter(VmState.STOPPING)
                return lambda: self._restart(envelope)
            case Change():
                guard(self._vm, self._state, Verb.SET)
                self._changing = True
                return lambda: self._change(verb, envelope)
            case Delete():
                guard(self._vm, self._state, Verb.DELETE)
                self._enter(VmState.DELETING)
                return self._delete
        raise AssertionError(verb)

    async def _operate(self, envelope: Envelope[Any], operation: Operation) -> None:
        name = type(envelope.request).__name__.lower()
        begun = trio.current_time()
        problem = ""
        failure: BaseException | None = None
        with envelope:
            try:
                await operation()
                if envelope.abandoned.is_set():
                    problem = "its client went away"
                envelope.reply(None if self._state is VmState.DELETING else self._view())
            except BaseException as error:
                failure = error
                crash = repr(error) if isinstance(error, Exception) else "interrupted"
                problem = str(sole_declared_error(error) or crash)
                raise
            finally:
                duration_ms = (trio.current_time() - begun) * 1000
                self._publish(OperationEnded(self._vm, name, duration_ms, problem))
        if failure is not None and self._state in (VmState.STOPPING, VmState.DELETING):
            # It stopped half-way, and what is true now is found out by a fresh start.
            raise RuntimeError(f"{name} of VM {self._vm!r} failed half-way") from failure
        if self._state in (VmState.CREATING, VmState.DELETING):
            # Undone or deleted: there is nothing left to be the actor of.
            self._publish(VmGone(self._vm))
            self._nursery.cancel_scope.cancel()

    # --- operations ---

    async def _create(self, request: Create, envelope: Envelope[Any]) -> None:
        bring_up = self._bring_up()
        stages = bring_up.create_stages(start=request.start)
        state = VmState.RUNNING if request.start else VmState.STOPPED
        async with cancelled_when_abandoned(envelope):
            await self._services.recovered.wait()
            await self._run_stages("create", bring_up, stages, state, request.fault)

    async def _start(self, fault: Fault | None, before: VmState, envelope: Envelope[Any]) -> None:
        try:
            async with cancelled_when_abandoned(envelope):
                await self._services.recovered.wait()
                await self._bring_back_up(fault)
        finally:
            if self._state is VmState.STARTING:
                self._vmm.machine = None
                with trio.CancelScope(shield=True):
                    await self._note(state=before, process=None)
                self._enter(before, self._record.reason)

    async def _bring_back_up(self, fault: Fault | None) -> None:
        async with self._cleaning:
            await self._save(state=VmState.STARTING)
        bring_up = self._bring_up()
        stages = bring_up.start_stages()
        await self._run_stages("start", bring_up, stages, VmState.RUNNING, fault)

    async def _stop(self, *, force: bool) -> None:
        await self._note(state=VmState.STOPPING)
        await self._hooks.stopping(self._seen(self._record, self._lease), self._record.options)
        if self._vmm.machine is not None:
            await shut_down(
                self._vm,
                self._vmm.machine,
                self._link,
                self._vmm.ended,
                force=force,
                timeout_s=self._services.stop_timeout_s,
            )
        await self._free_runtime()
        await self._note(state=VmState.STOPPED, process=None, reason="")
        self._enter(VmState.STOPPED)

    async def _restart(self, envelope: Envelope[Any]) -> None:
        await self._stop(force=False)
        self._enter(VmState.STARTING)
        await self._start(None, VmState.STOPPED, envelope)

    async def _change(self, request: Change, envelope: Envelope[Any]) -> None:
        before = self._record
        labels = {k: v for k, v in {**before.labels, **request.labels}.items() if v is not None}
        try:
            options = self._services.capabilities.change(before.options, request.options)
            async with self._cleaning:
                spec = self._changed_spec(request.shape)
                after = msgspec.structs.replace(before, spec=spec, labels=labels, options=options)
                await self._change_record(after, envelope)
        finally:
            self._changing = False

    def _changed_spec(self, shape: dict[str, int]) -> VmSpec:
        spec = self._record.spec
        changed = msgspec.structs.replace(spec, **shape)
        if changed == spec:
            return spec
        if self._state in _HAS_VMM:
            raise IllegalState(
                f"VM {self._vm!r} is {self._state}: its shape is that of its VMM",
                hint=f"'banger vm stop {self._vm}' first",
            )
        if changed.disk_bytes < spec.disk_bytes:
            raise UsageError(
                f"the disk of VM {self._vm!r} has {show_size(spec.disk_bytes)}, it can't "
                f"shrink to {show_size(changed.disk_bytes)}",
                hint="a disk can grow, never shrink",
            )
        return changed

    async def _change_record(self, after: VmRecord, envelope: Envelope[Any]) -> None:
        before, undo, done = self._record, list[Undo](), False
        vm = self._seen(after, self._lease)
        try:
            async with cancelled_when_abandoned(envelope):
                await self._hooks.admit(vm, after.options)
                if after.spec.disk_bytes != before.spec.disk_bytes:
                    # Before the record: a larger disk than recorded harms nobody.
                    disk = root_disk(self._services.store.directory(self._vm))
                    await run_blocking(qcow2.grow, disk, after.spec.disk_bytes)
                await self._save(spec=after.spec, labels=after.labels, options=after.options)
                await self._hooks.changed(vm, before.options, after.options, undo)
                done = True
        finally:
            if not done:
                with trio.CancelScope(shield=True):
                    await undo_all(undo)
                    if self._record is not before:
                        await self._note(
                            spec=before.spec, labels=before.labels, options=before.options
                        )

    async def _delete(self) -> None:
        async with self._cleaning:
            await self._note(state=VmState.DELETING)
        await self._remove()

    def _bring_up(self) -> BringUp:
        self._vmm.expect()
        self._coming_up = BringUp(
            self._services,
            self._record,
            hooks=self._hooks,
            seen=self._seen,
            attend=self._watch,
            guest_ended=self._vmm.last_words,
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
            self._publish(
                StageFinished(self._vm, operation, timing.name, timing.duration_ms, timing.note)
            )

        try:
            await run_stages(
                stages,
                None,
                started=lambda stage: self._publish(StageStarted(self._vm, operation, stage)),
                finished=finished,
                fault=fault,
            )
            try:
                await self._settle(bring_up, state)
            except BaseException:
                await undo_stages(stages, None)
                raise
        finally:
            self._coming_up = None

    async def _settle(self, bring_up: BringUp, state: VmState) -> None:
        """Take over what was brought up."""
        await bring_up.save(state=state, reason="")
        if self._vmm.ended.is_set():
            raise VmmError(await self._vmm.last_words())
        # From here on nothing waits, so nothing can be cancelled half-way.
        self._record = bring_up.record
        self._link = bring_up.link
        self._lease = bring_up.lease
        self._enter(state)

    async def _remove(self) -> None:
        """End the VMM if one runs, give everything back, delete the record last."""
        machine = self._vmm.machine or await self._find_machine()
        if machine is not None:
            await machine.kill()
            machine.close()
        await self._free_runtime()
        await self._hooks.deleted(self._seen(self._record, None), self._record.options)
        await self._services.taps.ask(ReleaseAddress(self._record.id))
        await run_blocking(self._services.store.delete, self._vm)

    async def _free_runtime(self) -> None:
        """What a running VM holds on the host; its VMM must have ended."""
        link, self._link = self._link, None
        if link is not None:
            await link.reset()
        vm = msgspec.structs.replace(self._seen(self._record, self._lease), tap=self._tap)
        await self._hooks.stopped(vm, self._record.options)
        self._lease = None
        await self._services.driver.forget(self._services.paths.vm_runtime / self._record.short_id)
        path = initramfs(self._services.store.directory(self._vm))
        await run_blocking(lambda: path.unlink(missing_ok=True))
        await self._services.taps.ask(ReleaseTap(self._record.id))

    # --- the VMM ---

    async def _watch(self, machine: Machine) -> None:
        """Returns when the VMM answers; the watching goes on beside. Raises `VmmError`."""
        await self._nursery.start(self._attend, machine)

    async def _attend(
        self,
        machine: Machine,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        def on_reset() -> None:
            self._publish(GuestRebooted(self._vm))
            if self._link is not None:
                self._nursery.start_soon(self._link.reset)

        await self._vmm.attend(machine, on_reset, task_status=task_status)
        if self._state in _HAS_VMM:
            await self._ended_by_itself()

    async def _ended_by_itself(self) -> None:
        if self._vmm.was_shut_down:
            state, reason = VmState.STOPPED, ""
        else:
            state, reason = VmState.CRASHED, "its VMM ended without the guest shutting down"
        self._enter(state, reason)
        async with self._cleaning:
            await self._free_runtime()
            await self._note(state=state, reason=reason, process=None)

    async def _find_machine(self) -> Machine | None:
        """The running VMM: the recorded one, or one started just before the daemon died."""
        identity = self._record.process
        if identity is None and self._record.state in _MAY_HAVE_UNRECORDED_VMM:
            identity = await self._services.driver.find(self._record.id)
        if identity is None:
            return None
        return await self._services.driver.adopt(
            identity, self._services.paths.vm_runtime / self._record.short_id
        )

    async def _recover(self) -> None:
        """After a start of the daemon, or of this actor: make the record true again."""
        record = self._record
        if record.state in (VmState.CREATING, VmState.DELETING):
            log.info("removing VM %s, left %s", self._vm, record.state)
            await self._remove()
            self._publish(VmGone(self._vm))
            self._nursery.cancel_scope.cancel()
            return
        if record.state is VmState.FAILED:
            return
        machine = await self._find_machine()
        if machine is not None:
            await self._adopt(machine)
            return
        state, reason = record.state, record.reason
        if state in (VmState.STARTING, VmState.STOPPING):
            state = VmState.STOPPED
        elif state in _HAS_VMM:
            if record.process is not None and record.process.boot_id != process.boot_id():
                state, reason = VmState.STOPPED, "the host was rebooted"
            else:
                state = VmState.CRASHED
                reason = "its VMM ended while the daemon was not running"
        await self._free_runtime()
        if state is not record.state:
            await self._note(state=state, reason=reason, process=None)
        self._enter(state, reason)

    async def _adopt(self, machine: Machine) -> None:
        self._link = AgentLink(machine.dial, self._services.driver.traits.agent_channels)
        await self._watch(machine)
        # It has the TAP already: the pool says which one, and what network it is in.
        acquire = AcquireTap(self._record.id, self._record.address)
        try:
            self._lease = await self._services.taps.ask(acquire)
        except BangerError as error:
            log.warning("VM %s: its network: %s", self._vm, error)
        vm = msgspec.structs.replace(self._seen(self._record, self._lease), tap=self._tap)
        await self._hooks.adopted(vm, self._record.options)
        await self._note(state=VmState.RUNNING, reason="", process=machine.identity)
        self._enter(VmState.RUNNING)

    # --- capabilities ---

    @property
    def _tap(self) -> str:
        """What its TAP is called while it has one."""
        return LEASED_PREFIX + self._record.short_id

    def _seen(self, record: VmRecord, lease: TapLease | None) -> Vm:
        return Vm(
            id=record.id,
            name=record.name,
            image=record.spec.image,
            state=self._state,
            labels=record.labels,
            directory=self._services.store.directory(record.name),
            address=record.address,
            mac=record.mac,
            tap=lease.tap if lease else "",
            network=lease.network if lease else None,
            image_directory=self._services.paths.images / record.image_id,
        )

    def _tell(self, capability: str, hook: str, text: str) -> None:
        self._publish(HookProgress(self._vm, capability, hook, text))

    # --- state ---

    def _enter(self, state: VmState, reason: str = "") -> None:
        self._state = state
        self._reason = reason
        self._publish(VmStateChanged(self._vm, state, reason))

    async def _save(self, **changes: object) -> None:
        self._record = msgspec.structs.replace(self._record, **changes)
        await run_blocking(self._services.store.save, self._vm, self._record)

    async def _note(self, **changes: object) -> None:
        """Save what `_recover` would find out without it, so a full disk stops no one."""
        try:
            await self._save(**changes)
        except HostNotReady as error:
            log.error("VM %s: %s", self._vm, error)  # noqa: TRY400 - no bug to be traced

    def _publish(self, event: Any) -> None:
        self._services.bus.publish(event)

    def _view(self) -> VmView:
        record, capabilities = self._record, self._services.capabilities
        return vm_view(
            record,
            state=self._state,
            reason=self._reason,
            machine=self._vmm.machine,
            tap=self._lease.tap if self._lease else None,
            options=capabilities.shown(record.options),
            directory=self._services.store.directory(self._vm),
        )
