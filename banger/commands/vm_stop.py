from __future__ import annotations

from banger.commands.context import Context
from banger.commands.declare import Command, Kind, Option
from banger.commands.many import Outcome, each
from banger.commands.select import NAMES, SELECTION, select
from banger.model.requests.vms import StopVm
from banger.model.vm import AT_REST


def run(
    context: Context,
    *,
    names: tuple[str, ...],
    everything: bool,
    labels: tuple[str, ...],
    parallel: int,
    force: bool,
    suspend: bool,
) -> int:
    selection = select(context, names, everything=everything, labels=labels)
    return each(
        context,
        selection,
        lambda name: StopVm(name, force, suspend),
        "suspended" if suspend else "stopped",
        parallel=parallel,
        settled=lambda view: view.state in AT_REST,
    )


COMMAND = Command(
    path=("vm", "stop"),
    summary="Stop VMs in an orderly way; their disks survive.",
    details="A pattern, a label or --all leaves those alone that do not run.",
    run=run,
    reply=list[Outcome],
    mutates=True,
    arguments=(NAMES,),
    options=(
        *SELECTION,
        Option(
            "suspend",
            ("--suspend",),
            "Keep the memory: 'vm start' goes on from there.",
            Kind.FLAG,
        ),
        Option("force", ("--force",), "End the VMM at once, like pulling the plug.", Kind.FLAG),
    ),
    examples=("banger vm stop testbox", "banger vm stop 'web-*'"),
)
