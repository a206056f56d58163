"""Layers: disks of a VM frozen together, named by an id, below the disks that go on.

A layer is a directory with one file for each disk, and is never written again. Whoever has its
id in a record uses it: VMs, snapshots, forks under way. What nobody uses is swept.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from banger.actors.snapshot_store import fork_store, snapshot_store
from banger.host import qcow2
from banger.host.paths import Paths
from banger.kernel.errors import HostNotReady
from banger.kernel.store import RecordStore
from banger.model.vm import VmRecord
from banger.vmm.base import DiskSwitch

log = logging.getLogger(__name__)

LAYERS_MAX = 32
"""Each costs QEMU a file and a look-up; nobody should need as many."""


def freeze_disks(directory: Path, disks: Mapping[str, Path]) -> dict[str, DiskSwitch]:
    """Make the disks files of the layer, and put new overlays in their place; by their serials.

    At each moment each disk is whole. A VMM that has them open goes on with what is now in
    the layer, until it is told of the overlays.
    """
    directory.mkdir(mode=0o700, parents=True)
    switches: dict[str, DiskSwitch] = {}
    for serial, disk in disks.items():
        frozen = directory / disk.name
        os.link(disk, frozen)
        lay_overlay(disk, frozen)
        switches[serial] = DiskSwitch(frozen, disk)
    return switches


def lay_overlay(disk: Path, frozen: Path) -> None:
    """Put a new disk, with what is in ``frozen``, in the place of the one there."""
    size = qcow2.read_header(frozen).virtual_size
    new = disk.with_suffix(".new")
    new.unlink(missing_ok=True)
    qcow2.create_overlay(new, backing=str(frozen), backing_format="qcow2", virtual_size=size)
    new.replace(disk)


def layers_below(paths: Paths, disk: Path) -> tuple[Path, ...]:
    """The frozen files that the disk lies on, lowest first, as their headers say."""
    chain: list[Path] = []
    while len(chain) <= LAYERS_MAX:
        backing = qcow2.read_header(disk).backing
        if backing is None or paths.layers not in Path(backing).parents:
            return tuple(reversed(chain))
        disk = Path(backing)
        chain.append(disk)
    raise HostNotReady(f"{disk} lies on more than {LAYERS_MAX} layers")


def sweep_layers(paths: Paths, vms: RecordStore[VmRecord]) -> None:
    """Remove the layers that no record tells of; none when a record can't be read."""
    if not paths.layers.is_dir():
        return
    # Listed first: what is made meanwhile is not in the list.
    there = {path.name for path in paths.layers.iterdir()}
    records, unreadable = vms.load_all()
    used = {layer for record in records.values() for layer in record.layers}
    stores = [fork_store(paths), *(snapshot_store(vms.directory(name)) for name in records)]
    for store in stores:
        snapshots, broken = store.load_all()
        unreadable |= broken
        used |= {layer for record in snapshots.values() for layer in record.layers}
    if unreadable:
        log.warning("no layer is swept: %s can't be read", ", ".join(sorted(unreadable)))
        return
    for layer in there - used:
        shutil.rmtree(paths.layers / layer, ignore_errors=True)
