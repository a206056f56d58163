from __future__ import annotations

from banger.client.ssh import forget_host
from banger.commands.context import Context, each
from banger.commands.declare import VM_NAMES, Command
from banger.model.names import check_name
from banger.model.requests import DeleteVm


def run(context: Context, *, names: tuple[str, ...]) -> int:
    requests = [DeleteVm(check_name("VM", name)) for name in names]
    code = each(context, names, requests, "deleted")
    for name in names:
        forget_host(context.paths, name)
    return code


COMMAND = Command(
    path=("vm", "delete"),
    summary="Delete VMs with their disks.",
    run=run,
    mutates=True,
    arguments=(VM_NAMES,),
)
