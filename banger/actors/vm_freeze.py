"""Keeping a VM as it is at one moment: its state in a file, its disks as a layer."""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path

import trio

from banger.actors.blocking import run_blocking
from banger.actors.layers import LAYERS_MAX, freeze_disks
from banger.actors.services import Services
from banger.actors.snapshot_store import MAKING, state_file
from banger.actors.vm_disks import ROOT_SERIAL, root_disk
from banger.actors.vm_requests import Frozen
from banger.actors.vm_runtime import Runtime
from banger.actors.vm_standing import Standing
from banger.host.ram_file import RamFile
from banger.kernel.actor import sole_declared_error
from banger.kernel.errors import Conflict, ConnectionLost, HostNotReady, IllegalState, TimedOut
from banger.kernel.store import RecordStore
from banger.model.machine import DiskFormat
from banger.model.sizes import MIB, show_size
from banger.model.snapshot import SnapshotRecord
from banger.vmm.base import DiskSwitch, Machine

FREEZE_DEADLINE_S = 300.0
"""The memory is written to a disk, which may be slow."""


async def freeze(
    services: Services,
    standing: Standing,
    runtime: Runtime,
    store: RecordStore[SnapshotRecord],
    name: str,
    *,
    brief: bool,
) -> Frozen:
    """Put a snapshot of the VM into the store; the VM goes on.

    ``brief``: it need not outlast this daemon. Then its memory is kept apart, where the VMM can do
    that, which is faster. It appears there whole or not at all. When it fails after the disks
    were frozen the VM goes on as well, with one more layer below them. Raises `Conflict` for a
    name that is taken.
    """
    machine, record = runtime.vmm.machine, standing.record
    if machine is None:
        raise ConnectionLost(f"the VMM of VM {standing.name!r} has just ended")
    if store.directory(name).exists():
        raise Conflict(f"VM {standing.name!r} has a snapshot {name!r} already")
    disks = _disks(standing, runtime)
    if len(record.layers) >= LAYERS_MAX:
        raise IllegalState(
            f"the disks of VM {standing.name!r} lie on {LAYERS_MAX} layers already",
            hint="each snapshot and each fork adds one",
        )
    ram: RamFile | None = None
    if brief and await machine.may_fork():
        ram = await run_blocking(RamFile.of_size, record.spec.memory_mib * MIB)
    making = store.directory(f"{MAKING}{secrets.token_hex(4)}")
    try:
        await run_blocking(lambda: making.mkdir(mode=0o700, parents=True))
        in_state = 0 if ram is not None else record.spec.memory_mib * MIB
        file = await run_blocking(open_state, state_file(making), in_state)
        try:
            async with runtime.cleaning:
                try:
                    async with trio.open_nursery() as nursery:
                        if ram is not None:
                            nursery.start_soon(machine.copy_base, ram)
                        switches = await _new_layer(services, standing, disks)
                except Exception as error:
                    raise sole_declared_error(error) or error from None
                fittings = await machine.fittings()
                paused_ms = await write_state(standing.name, machine, file, switches, ram)
            if not brief:
                await run_blocking(os.fsync, file)
        finally:
            os.close(file)
        found = SnapshotRecord(
            name=name,
            vm=standing.name,
            created_at=time.time(),
            spec=record.spec,
            image_id=record.image_id,
            mac=record.mac,
            options=record.options,
            layers=standing.record.layers,
            fittings=fittings,
            paused_ms=round(paused_ms, 1),
            seed=record.seed,
            seed_work=record.seed_work,
        )
        await run_blocking(store.save, making.name, found)
        await run_blocking(making.rename, store.directory(name))
    except BaseException:
        if ram is not None:
            ram.close()
        with trio.CancelScope(shield=True):
            await run_blocking(store.delete, making.name)
        raise
    return Frozen(found, ram)


async def _new_layer(
    services: Services, standing: Standing, disks: dict[str, Path]
) -> dict[str, DiskSwitch]:
    # Recorded first: from then on an interrupted switch is completed.
    layer = secrets.token_hex(8)
    await standing.save(layers=[*standing.record.layers, layer])
    switches = await run_blocking(freeze_disks, services.paths.layers / layer, disks)
    # QEMU flushes the disks while the guest stands still: leave it little to do.
    await run_blocking(_flush, [switch.frozen for switch in switches.values()])
    return switches


def _flush(files: list[Path]) -> None:
    for path in files:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(file)
        finally:
            os.close(file)


async def write_state(
    name: str,
    machine: Machine,
    file: int,
    switches: dict[str, DiskSwitch],
    ram: RamFile | None = None,
) -> float:
    """`Machine.snapshot`, or `Machine.fork`, with a deadline."""
    with trio.move_on_after(FREEZE_DEADLINE_S):
        if ram is not None:
            return await machine.fork(file, ram, switches)
        return await machine.snapshot(file, switches)
    raise TimedOut(f"the VMM of VM {name!r} gives no state within {FREEZE_DEADLINE_S:.0f} s")


def _disks(standing: Standing, runtime: Runtime) -> dict[str, Path]:
    """All that the guest can write to, by their serials.

    Raises `IllegalState` when not all of it can be frozen.
    """
    plan = runtime.hooks.contribute(standing.seen, standing.record.options)
    for drive in plan.drives:
        if drive.format is not DiskFormat.OVERLAY or drive.path.parent != standing.directory:
            raise IllegalState(
                f"VM {standing.name!r} has a disk {drive.serial!r} that can't be frozen"
            )
    if plan.cards:
        raise IllegalState(f"VM {standing.name!r} has more than one network card")
    others = {drive.serial: drive.path for drive in plan.drives}
    return {ROOT_SERIAL: root_disk(standing.directory), **others}


def open_state(path: Path, memory_bytes: int) -> int:
    """A descriptor of a new file, where there is room for that. Raises `HostNotReady`."""
    status = os.statvfs(path.parent)
    free = status.f_bavail * status.f_frsize
    if free < memory_bytes:
        raise HostNotReady(
            f"{path.parent} has {show_size(free)} free, and the memory may take "
            f"{show_size(memory_bytes)}",
            hint="make room there",
        )
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
