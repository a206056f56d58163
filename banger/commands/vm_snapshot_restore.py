from __future__ import annotations

from banger.commands.context import Context
from banger.commands.declare import VM_NAME, Command
from banger.commands.progress import StageProgress
from banger.commands.vm_create import FAULT, parse_fault
from banger.commands.vm_snapshot_create import SNAPSHOT_NAME
from banger.model.events import AnyEvent
from banger.model.names import check_name
from banger.model.requests.snapshots import RestoreSnapshot
from banger.model.vm import VmView


def run(context: Context, *, name: str, snapshot: str, fault: str | None) -> None:
    request = RestoreSnapshot(
        check_name("VM", name), check_name("snapshot", snapshot), parse_fault(fault)
    )
    progress = StageProgress(context, name)
    try:
        view = context.daemon.call(request, items=AnyEvent, on_item=progress.take)
    finally:
        progress.clear()
    context.document(view)
    context.line(f"{name} is at {snapshot} again, in {progress.summary()}")


COMMAND = Command(
    path=("vm", "snapshot", "restore"),
    summary="Take a VM back to a snapshot of it, memory and disks.",
    details="What it has become since is lost. It runs then, whatever it did before.",
    run=run,
    reply=VmView,
    mutates=True,
    arguments=(VM_NAME, SNAPSHOT_NAME),
    options=(FAULT,),
    examples=("banger vm snapshot restore testbox ready",),
)
