from __future__ import annotations

from banger.commands.context import Context, each
from banger.commands.declare import VM_NAMES, Command
from banger.model.names import check_name
from banger.model.requests import StartVm


def run(context: Context, *, names: tuple[str, ...]) -> int:
    requests = [StartVm(check_name("VM", name)) for name in names]
    return each(context, names, requests, "started")


COMMAND = Command(
    path=("vm", "start"),
    summary="Start stopped or crashed VMs.",
    run=run,
    mutates=True,
    arguments=(VM_NAMES,),
)
