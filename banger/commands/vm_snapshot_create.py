from __future__ import annotations

from banger.commands.context import Context
from banger.commands.declare import VM_NAME, Argument, Command
from banger.model.names import check_name
from banger.model.requests.snapshots import CreateSnapshot
from banger.model.sizes import show_size
from banger.model.snapshot import SnapshotView

SNAPSHOT_NAME = Argument("snapshot", "Name of the snapshot.")


def run(context: Context, *, name: str, snapshot: str) -> None:
    request = CreateSnapshot(check_name("VM", name), check_name("snapshot", snapshot))
    view = context.call(request)
    context.document(view)
    taken = show_size(view.memory_bytes + view.disk_bytes)
    context.line(f"{name} stood still for {view.paused_ms:.0f} ms; {snapshot} takes {taken}")


COMMAND = Command(
    path=("vm", "snapshot", "create"),
    summary="Keep a VM's memory and disks as they are now.",
    details="The VM goes on; it stands still for a few milliseconds. "
    "The snapshot goes with the VM.",
    run=run,
    reply=SnapshotView,
    mutates=True,
    arguments=(VM_NAME, SNAPSHOT_NAME),
    examples=("banger vm snapshot create testbox ready",),
)
