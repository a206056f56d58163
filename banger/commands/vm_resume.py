from __future__ import annotations

from banger.commands.context import Context
from banger.commands.declare import Command
from banger.commands.many import Outcome, each
from banger.commands.select import NAMES, SELECTION, select
from banger.model.requests.vms import ResumeVm
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
        ResumeVm,
        "resumed",
        parallel=parallel,
        settled=lambda view: view.state is not VmState.PAUSED,
    )


COMMAND = Command(
    path=("vm", "resume"),
    summary="Let paused VMs go on.",
    details="The clock in the guest is set. A pattern, a label or --all leaves those alone that "
    "are not paused.",
    run=run,
    reply=list[Outcome],
    mutates=True,
    arguments=(NAMES,),
    options=SELECTION,
    examples=("banger vm resume testbox", "banger vm resume --all"),
)
