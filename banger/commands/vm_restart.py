from __future__ import annotations

from banger.commands.context import Context
from banger.commands.declare import Command
from banger.commands.many import Outcome, each
from banger.commands.select import NAMES, SELECTION, select
from banger.model.requests.vms import RestartVm


def run(
    context: Context,
    *,
    names: tuple[str, ...],
    everything: bool,
    labels: tuple[str, ...],
    parallel: int,
) -> int:
    selection = select(context, names, everything=everything, labels=labels)
    return each(context, selection, RestartVm, "restarted", parallel=parallel, tell_notes=True)


COMMAND = Command(
    path=("vm", "restart"),
    summary="Stop and start VMs.",
    run=run,
    reply=list[Outcome],
    mutates=True,
    arguments=(NAMES,),
    options=SELECTION,
    examples=("banger vm restart testbox", "banger vm restart --label app=web --parallel 2"),
)
