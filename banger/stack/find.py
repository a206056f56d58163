"""The stacks there are, found by the labels of their VMs."""

from __future__ import annotations

from banger.commands.context import Context
from banger.commands.declare import Argument
from banger.kernel.errors import NotFound
from banger.model.names import check_name
from banger.model.requests.vms import ListVms
from banger.model.vm import VmView
from banger.stack.labels import level_of, stack_of

STACK_NAME = Argument("name", "Name of the stack.")


def find_stacks(context: Context) -> dict[str, list[VmView]]:
    """By name, each with its VMs, those that others depend on first."""
    stacks: dict[str, list[VmView]] = {}
    views = context.call(ListVms())
    for view in sorted(views, key=lambda view: (level_of(view), view.name)):
        name = stack_of(view)
        if name is not None:
            stacks.setdefault(name, []).append(view)
    return dict(sorted(stacks.items()))


def find_stack(context: Context, name: str) -> list[VmView]:
    stacks = find_stacks(context)
    if check_name("stack", name) not in stacks:
        raise NotFound(f"there is no stack {name!r}", hint="'banger stack list' shows those there")
    return stacks[name]
