from __future__ import annotations

from banger.commands.context import Context
from banger.commands.declare import VM_NAME, Command
from banger.commands.vm_snapshot_create import SNAPSHOT_NAME
from banger.model.names import check_name
from banger.model.requests.snapshots import DeleteSnapshot
from banger.model.requests.vms import SnapshotName


def run(context: Context, *, name: str, snapshot: str) -> None:
    context.call(DeleteSnapshot(check_name("VM", name), check_name("snapshot", snapshot)))
    context.document(SnapshotName(name, snapshot))
    context.line(f"{snapshot} of {name} deleted")


COMMAND = Command(
    path=("vm", "snapshot", "delete"),
    summary="Delete a snapshot.",
    details="VMs that were made from it are not touched.",
    run=run,
    reply=SnapshotName,
    mutates=True,
    arguments=(VM_NAME, SNAPSHOT_NAME),
    examples=("banger vm snapshot delete testbox ready",),
)
