from __future__ import annotations

from banger.commands.context import Context
from banger.commands.declare import VM_NAME, Command
from banger.model.names import check_name
from banger.model.requests.snapshots import ListSnapshots
from banger.model.sizes import show_size
from banger.model.snapshot import SnapshotView


def run(context: Context, *, name: str) -> None:
    views = context.call(ListSnapshots(check_name("VM", name)))
    context.document(views)
    if not views:
        context.note(f"VM {name!r} has no snapshots")
        return
    context.table(
        ("NAME", "CREATED", "MEMORY", "DISKS", "PAUSED"),
        [
            (
                view.name,
                view.created_at,
                show_size(view.memory_bytes),
                show_size(view.disk_bytes),
                f"{view.paused_ms:.0f} ms",
            )
            for view in views
        ],
    )


COMMAND = Command(
    path=("vm", "snapshot", "list"),
    summary="List the snapshots of a VM, the oldest first.",
    details="DISKS is what was written since the snapshot before.",
    run=run,
    reply=list[SnapshotView],
    arguments=(VM_NAME,),
    examples=("banger vm snapshot list testbox",),
)
