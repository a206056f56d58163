"""The fleet: which VMs there are, and the actor of each."""

from __future__ import annotations

import difflib
import logging
import secrets
import shutil
import time
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import trio

from banger.actors import vm, vm_requests
from banger.actors.blocking import run_blocking
from banger.actors.layers import sweep_layers
from banger.actors.origin import Origin
from banger.actors.services import Services
from banger.kernel.actor import Actor, Envelope, Inbox, Ref, cancelled_when_abandoned
from banger.kernel.errors import (
    ActorStopped,
    BangerError,
    Conflict,
    CorruptRecord,
    IllegalState,
    NotFound,
    UsageError,
)
from banger.kernel.message import Fault, Request
from banger.kernel.supervisor import Child, Supervisor
from banger.model.labels import Labels
from banger.model.lifetime import Lifetime
from banger.model.names import RESERVED_NAMES, make_up_name
from banger.model.snapshot import SnapshotRecord
from banger.model.vm import Beginning, OptionValues, VmRecord, VmSpec, VmState, VmView

log = logging.getLogger(__name__)

R = TypeVar("R")

RECOVERY_DEADLINE_S = 30.0


class Snapshotted(msgspec.Struct, frozen=True):
    """What a new VM is to begin in."""

    record: SnapshotRecord
    directory: Path
    ram: Path | None = None
    """Its memory, good within this process; None: that is in the state."""


class CreateVm(Request[VmView], frozen=True):
    """Abandoned, it is undone."""

    name: str
    spec: VmSpec
    image_id: str
    start: bool
    labels: Labels = {}
    options: OptionValues = {}
    lifetime: Lifetime = Lifetime()
    begin: Beginning = Beginning.STANDBY
    origin: Snapshotted | None = None
    fault: Fault | None = None


class SweepLayers(Request[None], frozen=True):
    """Remove the layers that nobody uses any more."""


class PickName(Request[str], frozen=True):
    """A memorable name that is free now."""


class FindVm(Request[Ref], frozen=True):
    """The VM's actor. Raises `NotFound`, with the names that are near."""

    name: str


class DeleteVm(Request[None], frozen=True):
    """When it returns the name is free."""

    name: str


class AwaitGone(Request[None], frozen=True):
    """Returns when the VM that this actor is of has gone, and its name is free."""

    vm: Ref


class EndVm(Request[None], frozen=True):
    """Delete the VM that this actor is of, if it is still there, and wait until it has gone."""

    vm: Ref


class ListVms(Request[list[VmView]], frozen=True):
    """Sorted by name."""


class LookAtVms(Request[list[vm_requests.Seen]], frozen=True):
    """The VMs as hooks see them, sorted by name."""


class GetQuarantined(Request[dict[str, str]], frozen=True):
    """Names whose records can't be read, with the reason."""


class Fleet(Actor):
    name = "fleet"

    def __init__(self, services: Services) -> None:
        self._services = services
        self._vms: dict[str, Child] = {}
        self._quarantined: dict[str, CorruptRecord] = {}
        self._sweeping = trio.Lock()

    async def run(self, inbox: Inbox) -> None:
        store = self._services.store
        await run_blocking(store.sweep)
        await run_blocking(store.sweep_unwritten)
        records, self._quarantined = await run_blocking(store.load_all)
        for error in self._quarantined.values():
            log.error("%s", error)
        await run_blocking(shutil.rmtree, self._services.paths.forks, True)
        await self._sweep_layers()
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self._supervisor = Supervisor(nursery)
            for name in records:
                self._keep(name)
            nursery.start_soon(self._await_recovery)
            async for envelope in inbox:
                nursery.start_soon(self._answer, envelope)

    async def _answer(self, envelope: Envelope[Any]) -> None:
        with envelope:
            match envelope.request:
                case CreateVm() as request:
                    await self._create(request, envelope)
                case PickName():
                    taken = self._vms.keys() | self._quarantined.keys()
                    envelope.reply(make_up_name(taken))
                case FindVm(name):
                    envelope.reply(self._find(name).ref)
                case DeleteVm(name):
                    child = self._find(name)
                    await self._delete(child)
                    await self._ended(name, child)
                    envelope.reply(None)
                case AwaitGone(ref):
                    for name, child in self._of(ref):
                        await self._ended(name, child)
                    envelope.reply(None)
                case EndVm(ref):
                    for name, child in self._of(ref):
                        await self._delete(child)
                        await self._ended(name, child)
                    envelope.reply(None)
                case SweepLayers():
                    await self._sweep_layers()
                    envelope.reply(None)
                case ListVms():
                    views = await self._ask_all(vm_requests.Describe())
                    envelope.reply(sorted(views, key=lambda view: view.name))
                case LookAtVms():
                    seen = await self._ask_all(vm_requests.Look())
                    envelope.reply(sorted(seen, key=lambda found: found.vm.name))
                case GetQuarantined():
                    envelope.reply({n: e.message for n, e in self._quarantined.items()})
                case request:
                    raise AssertionError(request)

    async def _create(self, request: CreateVm, envelope: Envelope[VmView]) -> None:
        name = request.name
        if name in RESERVED_NAMES:
            raise UsageError(
                f"a VM can't be called {name!r}: that is every machine's name for itself",
                hint="choose another name",
            )
        if name in self._vms:
            raise Conflict(
                f"VM {name!r} exists already",
                hint=f"choose another name, or 'banger vm delete {name}' first",
            )
        if name in self._quarantined:
            error = self._quarantined[name]
            raise Conflict(f"the name {name!r} is taken: {error.message}", hint=error.hint)
        record = VmRecord(
            id=secrets.token_hex(16),
            name=name,
            spec=request.spec,
            image_id=request.image_id,
            state=VmState.CREATING,
            created_at=time.time(),
            address="",
            mac="",
            driver=self._services.driver.name,
            labels=request.labels,
            options=request.options,
            lifetime=request.lifetime,
            **_inherited(request.origin),
        )
        child = self._keep(name, record)
        try:
            async with cancelled_when_abandoned(envelope):
                view = await child.ref.ask(
                    vm_requests.Create(
                        start=request.start,
                        begin=request.begin,
                        origin=_origin(request.origin),
                        fault=request.fault,
                    )
                )
                envelope.reply(view)
        finally:
            if not envelope.answered:
                # Its actor undoes what was done, and ends; only then is the name free.
                with trio.CancelScope(shield=True):
                    await self._ended(name, child)

    async def _delete(self, child: Child) -> None:
        """Returns when the VM is deleted, also when somebody else is deleting it already."""
        try:
            await child.ref.ask(vm_requests.Delete())
        except (IllegalState, ActorStopped):
            if not child.finished.is_set() and not await _is_going(child):
                raise

    def _keep(self, name: str, fresh: VmRecord | None = None) -> Child:
        """Start the VM's actor, and drop it from the list when it has ended."""
        records = [fresh]

        def make() -> Actor:
            # Only the first one makes the VM; after a crash the record on disk is the truth.
            first = records.pop() if records else None
            return vm.VmActor(self._services, name, fresh=first)

        child = self._supervisor.start(f"vm/{name}", make)
        self._vms[name] = child
        self._nursery.start_soon(self._await_end, name, child)
        return child

    async def _ended(self, name: str, child: Child) -> None:
        """Wait for the actor's end. The name may then be another VM's already."""
        await child.finished.wait()
        if self._vms.get(name) is child:
            del self._vms[name]

    async def _await_end(self, name: str, child: Child) -> None:
        await self._ended(name, child)
        if child.failure is not None:
            await self._give_up(name, child.failure)
        await self._sweep_layers()

    async def _give_up(self, name: str, failure: Exception) -> None:
        """The VM's actor crashes again and again: keep the VM as failed, to be deleted."""
        reason = f"its actor crashed too often, at last with {failure!r}"
        log.error("VM %s has failed: %s", name, reason)
        store = self._services.store
        try:
            record = await run_blocking(store.load, name)
            failed = msgspec.structs.replace(record, state=VmState.FAILED, reason=reason)
            await run_blocking(store.save, name, failed)
        except (OSError, BangerError) as error:
            self._quarantined[name] = CorruptRecord(f"VM {name!r}: {error}")
            return
        self._keep(name)

    async def _sweep_layers(self) -> None:
        async with self._sweeping:
            await run_blocking(sweep_layers, self._services.paths, self._services.store)

    def _of(self, ref: Ref) -> list[tuple[str, Child]]:
        return [(name, child) for name, child in self._vms.items() if child.ref is ref]

    def _find(self, name: str) -> Child:
        child = self._vms.get(name)
        if child is not None:
            return child
        if name in self._quarantined:
            raise self._quarantined[name]
        near = difflib.get_close_matches(name, self._vms, n=3)
        hint = f"did you mean {', '.join(near)}?" if near else "'banger vm list' shows those there"
        raise NotFound(f"there is no VM {name!r}", hint=hint)

    async def _ask_all(self, request: Request[R]) -> list[R]:
        replies: list[R] = []

        async def ask(child: Child) -> None:
            try:
                replies.append(await child.ref.ask(request))
            except BangerError as error:
                log.info("left out of the list: %s", error)

        async with trio.open_nursery() as nursery:
            for child in self._vms.values():
                nursery.start_soon(ask, child)
        return replies

    async def _await_recovery(self) -> None:
        """A VM's actor answers when it has taken its VM up again."""
        with trio.move_on_after(RECOVERY_DEADLINE_S):
            await self._ask_all(vm_requests.Describe())
            await self._services.pin_unknown()
        self._services.recovered.set()


def _inherited(origin: Snapshotted | None) -> dict[str, Any]:
    """Fields of the record that tell what the disks lie on."""
    if origin is None:
        return {}
    record = origin.record
    return {"layers": record.layers, "seed": record.seed, "seed_work": record.seed_work}


def _origin(origin: Snapshotted | None) -> Origin | None:
    if origin is None:
        return None
    return Origin.of(origin.record, origin.directory, ram=origin.ram)


async def _is_going(child: Child) -> bool:
    try:
        return (await child.ref.ask(vm_requests.Describe())).state is VmState.DELETING
    except ActorStopped:
        return True
