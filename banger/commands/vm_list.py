from __future__ import annotations

from banger.commands.context import Context
from banger.commands.declare import Command
from banger.model.requests import ListVms


def run(context: Context) -> None:
    views = context.call(ListVms())
    context.document(views)
    if not views:
        context.note("there are no VMs; 'banger vm create' makes one")
        return
    context.table(
        ("NAME", "STATE", "IMAGE", "ADDRESS", "VCPUS", "MEMORY", "PID"),
        [
            (
                view.name,
                view.state,
                view.image,
                view.address or "-",
                str(view.vcpus),
                f"{view.memory_mib} MiB",
                str(view.pid or "-"),
            )
            for view in views
        ],
    )


COMMAND = Command(path=("vm", "list"), summary="List the VMs and their states.", run=run)
