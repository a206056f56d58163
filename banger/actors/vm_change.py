"""Changing a VM's shape, labels and options: whole, or not at all."""

from __future__ import annotations

import time

import msgspec
import trio

from banger.actors.blocking import run_blocking
from banger.actors.services import Services
from banger.actors.vm_disks import root_disk
from banger.actors.vm_requests import Change
from banger.actors.vm_runtime import HAS_VMM, Runtime
from banger.actors.vm_standing import Standing
from banger.capabilities.hooks import Undo, undo_all
from banger.host import qcow2
from banger.kernel.actor import Envelope, cancelled_when_abandoned
from banger.kernel.errors import IllegalState, UsageError
from banger.model.lifetime import Lifetime
from banger.model.sizes import show_size
from banger.model.vm import VmRecord, VmSpec, VmView


async def change(
    services: Services, standing: Standing, runtime: Runtime, envelope: Envelope[VmView]
) -> None:
    """Do what the envelope's `Change` says. Undone when it fails or is abandoned."""
    request: Change = envelope.request
    before = standing.record
    labels = {k: v for k, v in {**before.labels, **request.labels}.items() if v is not None}
    given = request.options(before.options) if callable(request.options) else request.options
    options = services.capabilities.change(before.options, given)
    async with runtime.cleaning:
        spec = _changed_spec(standing, request.shape)
        lifetime = request.lifetime.apply(before.lifetime, time.time())
        _check_lifetime(standing, lifetime)
        after = msgspec.structs.replace(
            before, spec=spec, labels=labels, options=options, lifetime=lifetime
        )
        await _change_record(standing, runtime, after, envelope)


def _changed_spec(standing: Standing, shape: dict[str, int]) -> VmSpec:
    name, spec = standing.name, standing.record.spec
    changed = msgspec.structs.replace(spec, **shape)
    if changed == spec:
        return spec
    if standing.state in HAS_VMM:
        raise IllegalState(
            f"VM {name!r} is {standing.state}: its shape is that of its VMM",
            hint=f"'banger vm stop {name}' first",
        )
    if changed.disk_bytes < spec.disk_bytes:
        raise UsageError(
            f"the disk of VM {name!r} has {show_size(spec.disk_bytes)}, it can't "
            f"shrink to {show_size(changed.disk_bytes)}",
            hint="a disk can grow, never shrink",
        )
    return changed


def _check_lifetime(standing: Standing, lifetime: Lifetime) -> None:
    if lifetime.remove and standing.state not in HAS_VMM:
        raise IllegalState(
            f"VM {standing.name!r} is {standing.state} already",
            hint=f"'banger vm delete {standing.name}' deletes it",
        )


async def _change_record(
    standing: Standing, runtime: Runtime, after: VmRecord, envelope: Envelope[VmView]
) -> None:
    before, undo, done = standing.record, list[Undo](), False
    vm = standing.seen_as(after, standing.lease)
    try:
        async with cancelled_when_abandoned(envelope):
            await runtime.hooks.admit(vm, after.options)
            if after.spec.disk_bytes != before.spec.disk_bytes:
                # Before the record: a larger disk than recorded harms nobody.
                disk = root_disk(standing.directory)
                await run_blocking(qcow2.grow, disk, after.spec.disk_bytes)
            await standing.save(**_changeable(after))
            await runtime.hooks.changed(vm, before.options, after.options, undo)
            done = True
    finally:
        if not done:
            with trio.CancelScope(shield=True):
                await undo_all(undo)
                if standing.record is not before:
                    await standing.note(**_changeable(before))


def _changeable(record: VmRecord) -> dict[str, object]:
    return {name: getattr(record, name) for name in ("spec", "labels", "options", "lifetime")}
