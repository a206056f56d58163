from __future__ import annotations

from banger.commands.context import Context
from banger.commands.declare import Command
from banger.commands.many import Outcome, each
from banger.commands.select import NAMES, SELECTION, select
from banger.model.requests.vms import PauseVm
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
        PauseVm,
        "paused",
        parallel=parallel,
        settled=lambda view: view.state is not VmState.RUNNING,
    )


COMMAND = Command(
    path=("vm", "pause"),
    summary="Hold VMs where they are; they keep their memory and use no CPU.",
    details="Commands in them stand still. A pause outlasts the daemon. A pattern, a label or "
    "--all leaves those alone that do not run.",
    run=run,
    reply=list[Outcome],
    mutates=True,
    arguments=(NAMES,),
    options=SELECTION,
    examples=("banger vm pause testbox", "banger vm pause 'web-*'"),
)
