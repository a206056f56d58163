from __future__ import annotations

from banger.commands.context import Context
from banger.commands.declare import Command
from banger.model.requests import ListImages
from banger.model.sizes import show_size


def run(context: Context) -> None:
    views = context.call(ListImages())
    context.document(views)
    if not views:
        context.note("there are no images; 'banger image build debian' makes one")
        return
    context.table(
        ("NAME", "SYSTEM", "KERNEL", "DISK", "ON HOST", "BUILT", "VMS"),
        [
            (
                view.name,
                view.distribution,
                view.kernel_version,
                show_size(view.disk_bytes),
                show_size(view.allocated_bytes),
                view.built_at[:10],
                str(len(view.vms)),
            )
            for view in views
        ],
    )


COMMAND = Command(path=("image", "list"), summary="List the images.", run=run)
