from __future__ import annotations

from banger.commands.context import Context, each
from banger.commands.declare import VM_NAMES, Command, Kind, Option
from banger.model.names import check_name
from banger.model.requests import StopVm


def run(context: Context, *, names: tuple[str, ...], force: bool) -> int:
    requests = [StopVm(check_name("VM", name), force) for name in names]
    return each(context, names, requests, "stopped")


COMMAND = Command(
    path=("vm", "stop"),
    summary="Stop VMs in an orderly way; their disks survive.",
    run=run,
    mutates=True,
    arguments=(VM_NAMES,),
    options=(
        Option("force", ("--force",), "End the VMM at once, like pulling the plug.", Kind.FLAG),
    ),
)
