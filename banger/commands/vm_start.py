from __future__ import annotations

from banger.commands.context import Context
from banger.commands.declare import Command
from banger.commands.many import Outcome, each
from banger.commands.select import NAMES, SELECTION, select
from banger.model.requests.vms import StartVm
from banger.model.vm import VmState


def run(
    context: Context,
    *,
    names: tuple[str, ...],
    everything: bool,
    labels: tuple[str, ...],
    parallel: int,
) -> int:
    selection = select(context, names, everything=everything, labels=labels)
    return each(
        context,
        selection,
        StartVm,
        "started",
        parallel=parallel,
        settled=lambda view: view.state is VmState.RUNNING,
        tell_notes=True,
    )


COMMAND = Command(
    path=("vm", "start"),
    summary="Start stopped or crashed VMs.",
    details="A pattern, a label or --all leaves those alone that are running.",
    run=run,
    reply=list[Outcome],
    mutates=True,
    arguments=(NAMES,),
    options=SELECTION,
    examples=("banger vm start testbox", "banger vm start --all"),
)
