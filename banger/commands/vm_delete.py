from __future__ import annotations

from banger.client.ssh import forget_host
from banger.commands.context import Context
from banger.commands.declare import Command
from banger.commands.many import Outcome, each
from banger.commands.select import NAMES, SELECTION, select
from banger.model.requests.vms import DeleteVm


def run(
    context: Context,
    *,
    names: tuple[str, ...],
    everything: bool,
    labels: tuple[str, ...],
    parallel: int,
) -> int:
    selection = select(context, names, everything=everything, labels=labels)
    if selection.listed:
        context.note(f"deleting {len(selection.names)}: {', '.join(selection.names)}")
    code = each(context, selection, DeleteVm, "deleted", parallel=parallel)
    for name in selection.names:
        forget_host(context.paths, name)
    return code


COMMAND = Command(
    path=("vm", "delete"),
    summary="Delete VMs with their disks.",
    details="Nothing is asked. What a pattern, a label or --all chose is named first.",
    run=run,
    reply=list[Outcome],
    mutates=True,
    arguments=(NAMES,),
    options=SELECTION,
    examples=("banger vm delete testbox", "banger vm delete --label job=42"),
)
