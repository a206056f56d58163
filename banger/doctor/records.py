"""Records that can't be read, and VMs that are not well."""

from __future__ import annotations

from collections.abc import Sequence

from banger.actors.fleet import ListVms
from banger.capabilities.check import Check
from banger.doctor.context import DoctorContext
from banger.doctor.known import coming_and_going
from banger.doctor.looking import in_thread
from banger.host.image_files import image_store
from banger.model.finding import Finding
from banger.model.vm import VmState


def records_check(context: DoctorContext) -> Check:
    images = image_store(context.paths.images)

    async def run() -> Sequence[Finding]:
        vms, unreadable = await in_thread(context.vms.load_all)
        coming = await coming_and_going(context.fleet)
        errors = [error for name, error in unreadable.items() if name not in coming]
        kept, unreadable_images = await in_thread(images.load_all)
        errors += unreadable_images.values()
        found = [check.warning(error.message, error.hint) for error in errors]
        found += [
            check.failed(
                f"VM {name!r} can't start: its image {record.image_id} is gone",
                f"put {images.directory(record.image_id)} back, or 'banger vm delete {name}'",
            )
            for name, record in vms.items()
            if record.image_id not in kept | unreadable_images
        ]
        found += [
            check.failed(
                f"VM {name!r} can't start: the warm seed {record.seed} under its disk is gone",
                f"put {context.paths.seeds / record.seed} back, or 'banger vm delete {name}'",
            )
            for name, record in vms.items()
            if record.seed and not (context.paths.seeds / record.seed).is_dir()
        ]
        return found or [check.ok(f"all readable: {len(vms)} VMs, {len(kept)} images")]

    check = Check("records", run)
    return check


def vms_check(context: DoctorContext) -> Check:
    async def run() -> Sequence[Finding]:
        views = await context.fleet.ask(ListVms())
        found = []
        for view in views:
            if view.state is VmState.CRASHED:
                remedy = f"banger vm start {view.name}"
                found.append(check.warning(f"VM {view.name!r} crashed: {view.reason}", remedy))
            elif view.state is VmState.FAILED:
                remedy = f"banger vm delete {view.name}"
                found.append(check.warning(f"VM {view.name!r} failed: {view.reason}", remedy))
        running = sum(view.state is VmState.RUNNING for view in views)
        return found or [check.ok(f"{len(views)} VMs, {running} of them running")]

    check = Check("vms", run)
    return check
