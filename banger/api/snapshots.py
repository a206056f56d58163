"""Snapshots of VMs: create, list, delete; and what a VM that begins in one is made of."""

from __future__ import annotations

from pathlib import Path

from banger.actors import fleet, vm_requests
from banger.actors.blocking import run_blocking
from banger.actors.snapshot_store import snapshot_store, state_file
from banger.api.backend import Backend
from banger.api.doctor import refuse_unless_ready
from banger.host.paths import Paths
from banger.kernel.errors import CorruptRecord, NotFound, UsageError
from banger.kernel.message import Fault
from banger.kernel.rpc import CallContext
from banger.kernel.store import RecordStore
from banger.model.clock import rfc3339
from banger.model.requests import snapshots as requests
from banger.model.snapshot import SnapshotRecord, SnapshotView
from banger.model.vm import Verb, VmView


async def create(
    backend: Backend, request: requests.CreateSnapshot, context: CallContext
) -> SnapshotView:
    ref = await backend.vm(request.vm)
    store = await _store(backend, request.vm)
    frozen = await ref.ask(vm_requests.Snapshot(request.name, store))
    return await run_blocking(_view, _paths(backend), store, frozen.record)


async def list_all(
    backend: Backend, request: requests.ListSnapshots, context: CallContext
) -> list[SnapshotView]:
    store = await _store(backend, request.vm)

    def look() -> list[SnapshotView]:
        records = sorted(store.load_all()[0].values(), key=lambda record: record.created_at)
        return [_view(_paths(backend), store, record) for record in records]

    return await run_blocking(look)


async def restore(
    backend: Backend, request: requests.RestoreSnapshot, context: CallContext
) -> VmView:
    if request.fault is not None and not backend.testing:
        raise UsageError("faults are injected only into a daemon started for tests")
    await refuse_unless_ready(backend, Verb.START)
    found = await find_snapshot(backend, request.vm, request.name)
    ref = await backend.vm(request.vm)
    order = vm_requests.Restore(found.record, found.directory, request.fault)
    return await backend.with_progress(
        context, lambda event: getattr(event, "vm", None) == request.vm, lambda: ref.ask(order)
    )


async def delete(backend: Backend, request: requests.DeleteSnapshot, context: CallContext) -> None:
    store = await _store(backend, request.vm)
    if not await run_blocking(store.directory(request.name).exists):
        raise _unknown(request.vm, request.name)
    await run_blocking(store.delete, request.name)
    await backend.fleet.ask(fleet.SweepLayers())


async def find_snapshot(backend: Backend, vm: str, name: str) -> fleet.Snapshotted:
    """Raises `NotFound`, `CorruptRecord`."""
    store = await _store(backend, vm)
    try:
        record = await run_blocking(store.load, name)
    except FileNotFoundError:
        raise _unknown(vm, name) from None
    directory = store.directory(name)
    if not await run_blocking(state_file(directory).exists):
        raise CorruptRecord(f"the snapshot in {directory} has no state")
    return fleet.Snapshotted(record, directory)


def begun_in(origin: fleet.Snapshotted, name: str, *, fault: Fault | None = None) -> fleet.CreateVm:
    """A VM like the one that the snapshot is of, from where it was then."""
    record = origin.record
    return fleet.CreateVm(
        name=name,
        spec=record.spec,
        image_id=record.image_id,
        start=True,
        options=record.options,
        origin=origin,
        fault=fault,
    )


async def _store(backend: Backend, vm: str) -> RecordStore[SnapshotRecord]:
    found = await (await backend.vm(vm)).ask(vm_requests.Look())
    return snapshot_store(found.vm.directory)


def _paths(backend: Backend) -> Paths:
    return backend.doctor.paths


def _unknown(vm: str, name: str) -> NotFound:
    return NotFound(
        f"VM {vm!r} has no snapshot {name!r}", hint=f"'banger vm snapshot list {vm}' shows them"
    )


def _view(paths: Paths, store: RecordStore[SnapshotRecord], record: SnapshotRecord) -> SnapshotView:
    return SnapshotView(
        name=record.name,
        vm=record.vm,
        created_at=rfc3339(record.created_at),
        memory_bytes=_allocated(store.directory(record.name)),
        disk_bytes=_allocated(paths.layers / record.layers[-1]),
        paused_ms=record.paused_ms,
    )


def _allocated(directory: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in directory.glob("*"))
