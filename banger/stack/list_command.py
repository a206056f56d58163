from __future__ import annotations

from collections import Counter

import msgspec

from banger.commands.context import Context
from banger.commands.declare import Command
from banger.stack.find import find_stacks


class StackView(msgspec.Struct, frozen=True):
    """``vms`` are its VMs, ``states`` how many are in each state."""

    name: str
    vms: list[str]
    states: dict[str, int]


def run(context: Context) -> None:
    stacks = [
        StackView(
            name, [view.name for view in views], dict(Counter(view.state.value for view in views))
        )
        for name, views in find_stacks(context).items()
    ]
    context.document(stacks)
    if not stacks:
        context.note("there are no stacks; 'banger apply' makes one")
        return
    context.table(
        ("NAME", "VMS", "STATES"),
        [
            (
                stack.name,
                str(len(stack.vms)),
                ", ".join(f"{count} {state}" for state, count in stack.states.items()),
            )
            for stack in stacks
        ],
    )


COMMAND = Command(
    path=("stack", "list"),
    summary="List the stacks and the states of their VMs.",
    run=run,
    reply=list[StackView],
    examples=("banger stack list",),
)
