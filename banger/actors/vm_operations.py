"""What is done to a VM: create, start, stop, restart, restore, snapshot, delete.

One at a time: the state that the VM's actor has entered keeps others out.
"""

from __future__ import annotations

import logging
from typing import Any

import msgspec
import trio

from banger.actors.blocking import run_blocking
from banger.actors.bring_up import BringUp
from banger.actors.origin import Origin
from banger.actors.services import Services
from banger.actors.shut_down import shut_down
from banger.actors.standby import Standby, StandbyKind, TakeStandby
from banger.actors.vm_freeze import freeze
from banger.actors.vm_pause import let_go_on
from banger.actors.vm_requests import Create, Frozen, Restore
from banger.actors.vm_runtime import Runtime
from banger.actors.vm_standing import Standing
from banger.actors.vm_suspend import forget_memory, origin, remove_memory
from banger.guest.link import AgentLink
from banger.kernel.actor import Envelope, cancelled_when_abandoned
from banger.kernel.errors import BangerError, VmmError
from banger.kernel.message import Fault
from banger.kernel.stages import Stage, StageTiming, run_stages, undo_stages
from banger.kernel.store import RecordStore
from banger.model.events import StageFinished, StageStarted
from banger.model.snapshot import SnapshotRecord
from banger.model.vm import Beginning, VmState

log = logging.getLogger(__name__)


class Operations:
    """Of one VM; admitted by its actor, which has entered the state for them."""

    def __init__(self, services: Services, standing: Standing, runtime: Runtime) -> None:
        self._coming_up: BringUp | None = None
        """The creation or start under way."""
        self._services = services
        self._standing = standing
        self._runtime = runtime

    @property
    def link(self) -> AgentLink | None:
        """The channels to the guest, also to one that is just coming up."""
        return self._coming_up.guest.link if self._coming_up else self._runtime.link

    async def create(self, request: Create, envelope: Envelope[Any]) -> None:
        state = VmState.RUNNING if request.start else VmState.STOPPED
        async with cancelled_when_abandoned(envelope):
            await self._services.recovered.wait()
            bring_up = self._bring_up(request.origin, await self._take_standby(request))
            stages = bring_up.create_stages(start=request.start, begin=request.begin)
            await self._run_stages("create", bring_up, stages, state, request.fault)

    async def _take_standby(self, request: Create) -> Standby | None:
        """Become one that stands ready. Then its end is the business of whoever called."""
        if not request.start or request.begin is not Beginning.STANDBY or request.origin:
            return None
        kind = StandbyKind.of(self._standing.record)
        try:
            # It answers at once; what it gives must not be lost on the way.
            with trio.CancelScope(shield=True):
                standby = await self._services.standby.ask(TakeStandby(kind))
        except BangerError as error:
            log.warning("VM %s: no standby VM: %s", self._standing.name, error)
            return None
        if standby is not None:
            # Before any hook hears of the VM: it has another id from now on.
            self._standing.record = standby.become(self._standing.record)
        return standby

    async def start(self, fault: Fault | None, before: VmState, envelope: Envelope[Any]) -> None:
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
        await run_blocking(remove_memory, self._standing.directory)

    async def _not_started(self, before: VmState) -> None:
        self._runtime.vmm.machine = None
        if before is VmState.SUSPENDED and self._standing.record.suspended is None:
            # The guest went on from its memory before the start failed.
            before = VmState.STOPPED
        with trio.CancelScope(shield=True):
            await self._standing.note(state=before, process=None)
        self._standing.enter(before, self._standing.record.reason)

    async def forget(self) -> None:
        await forget_memory(self._standing)
        self._standing.enter(VmState.STOPPED)

    async def restore(self, request: Restore) -> None:
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
            await run_blocking(remove_memory, standing.directory)
            bring_up = self._bring_up(Origin.of(snapshot, request.directory, same=True))
            stages = bring_up.restore_stages(snapshot.layers)
            await self._run_stages("restore", bring_up, stages, VmState.RUNNING, request.fault)
        finally:
            if standing.state is VmState.STARTING:
                await self._not_started(VmState.STOPPED)

    async def stop(self, *, force: bool, paused: bool = False, reason: str = "") -> None:
        await self._standing.note(state=VmState.STOPPING)
        if paused and not force:
            # A guest that stands still can't shut down.
            await let_go_on(self._standing, self._runtime)
        await self._runtime.hooks.stopping(self._standing.seen, self._standing.record.options)
        if self._runtime.vmm.machine is not None:
            await shut_down(
                self._standing.name,
                self._runtime.vmm.machine,
                self._runtime.link,
                self._runtime.vmm.ended,
                force=force,
                timeout_s=self._services.stop_timeout_s,
            )
        await self._runtime.free()
        await self._standing.note(state=VmState.STOPPED, process=None, reason=reason)
        self._standing.enter(VmState.STOPPED, reason)

    async def restart(self, envelope: Envelope[Any]) -> None:
        await self.stop(force=False)
        self._standing.enter(VmState.STARTING)
        await self.start(None, VmState.STOPPED, envelope)

    async def snapshot(
        self,
        store: RecordStore[SnapshotRecord],
        name: str,
        envelope: Envelope[Any],
        *,
        brief: bool,
    ) -> Frozen | None:
        async with cancelled_when_abandoned(envelope):
            return await freeze(
                self._services, self._standing, self._runtime, store, name, brief=brief
            )
        return None

    async def delete(self) -> None:
        async with self._runtime.cleaning:
            await self._standing.note(state=VmState.DELETING)
        await self._runtime.remove()

    def _bring_up(self, origin: Origin | None = None, standby: Standby | None = None) -> BringUp:
        self._runtime.vmm.expect()
        self._coming_up = BringUp(
            self._services,
            self._standing.record,
            hooks=self._runtime.hooks,
            seen=self._standing.seen_as,
            attend=self._runtime.watch,
            vmm=self._runtime.vmm,
            origin=origin,
            standby=standby,
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
                StageFinished(
                    self._standing.name, operation, timing.name, timing.duration_ms, timing.note
                )
            )

        try:
            await run_stages(
                stages,
                None,
                started=lambda stage: self._standing.publish(
                    StageStarted(self._standing.name, operation, stage)
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
