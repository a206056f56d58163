"""The VM as hooks see it."""

from __future__ import annotations

from pathlib import Path

from banger.actors.tap_pool import TapLease
from banger.capabilities.host import Vm
from banger.host.paths import Paths
from banger.model.vm import VmRecord, VmState


def seen_by_hooks(
    record: VmRecord, lease: TapLease | None, *, state: VmState, directory: Path, paths: Paths
) -> Vm:
    return Vm(
        id=record.id,
        name=record.name,
        image=record.spec.image,
        state=state,
        labels=record.labels,
        directory=directory,
        address=record.address,
        mac=record.mac,
        tap=lease.tap if lease else "",
        network=lease.network if lease else None,
        image_directory=paths.images / record.image_id,
    )
