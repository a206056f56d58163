"""A VM as it is shown."""

from __future__ import annotations

from pathlib import Path

from banger.model.clock import rfc3339
from banger.model.lifetime import LifetimeView
from banger.model.vm import OptionValues, VmRecord, VmState, VmView
from banger.vmm.base import Machine


def vm_view(
    record: VmRecord,
    *,
    state: VmState,
    reason: str,
    notes: list[str],
    machine: Machine | None,
    tap: str | None,
    options: OptionValues,
    directory: Path,
) -> VmView:
    """``options`` are those worth showing; ``directory`` is the VM's own."""
    lifetime = record.lifetime
    return VmView(
        name=record.name,
        state=state,
        image=record.spec.image,
        address=record.address,
        mac=record.mac,
        pid=machine.identity.pid if machine else None,
        vcpus=record.spec.vcpus,
        memory_mib=record.spec.memory_mib,
        disk_bytes=record.spec.disk_bytes,
        disk_allocated_bytes=_allocated_bytes(directory),
        created_at=rfc3339(record.created_at),
        id=record.id,
        driver=record.driver,
        accelerator=machine.accelerator if machine else None,
        tap=tap,
        reason=reason,
        labels=record.labels,
        options=options,
        notes=notes,
        lifetime=LifetimeView(
            rm=lifetime.remove,
            expires_at=None if lifetime.expires_at is None else rfc3339(lifetime.expires_at),
            idle_stop_s=lifetime.idle_stop_s,
        ),
    )


def _allocated_bytes(directory: Path) -> int:
    try:
        return sum(disk.stat().st_blocks * 512 for disk in directory.glob("*.qcow2"))
    except FileNotFoundError:  # just being deleted
        return 0
