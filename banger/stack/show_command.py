from __future__ import annotations

from banger.commands.context import Context
from banger.commands.declare import Command
from banger.model.vm import VmView
from banger.stack.find import STACK_NAME, find_stack
from banger.stack.labels import PROVISION, level_of


def run(context: Context, *, name: str) -> None:
    views = find_stack(context, name)
    context.document(views)
    context.table(
        ("NAME", "LEVEL", "STATE", "IMAGE", "ADDRESS", "PROVISIONED"),
        [
            (
                view.name,
                str(level_of(view)),
                view.state,
                view.image,
                view.address or "-",
                view.labels.get(PROVISION, "-"),
            )
            for view in views
        ],
    )


COMMAND = Command(
    path=("stack", "show"),
    summary="Show the VMs of a stack.",
    details="In the order in which they are brought up. PROVISIONED is the digest of the steps "
    "that have run.",
    run=run,
    reply=list[VmView],
    arguments=(STACK_NAME,),
    examples=("banger stack show shop",),
)
