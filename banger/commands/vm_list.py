from __future__ import annotations

from banger.commands.colour import Colour
from banger.commands.context import Context
from banger.commands.declare import Command
from banger.commands.labels import parse_selectors, show_labels
from banger.commands.select import LABEL, NAMES, check_names, check_there, fits, matches
from banger.model.requests.vms import ListVms
from banger.model.vm import VmState, VmView


def run(context: Context, *, names: tuple[str, ...], labels: tuple[str, ...]) -> None:
    check_names(names)
    selectors = parse_selectors(labels)
    there = context.call(ListVms())
    check_there(names, there)
    views = [v for v in there if fits(v, selectors) and (not names or matches(v.name, names))]
    context.document(views)
    if not views:
        none = "no VM fits" if there else "there are no VMs; 'banger vm create' makes one"
        context.note(none)
        return
    labelled = any(view.labels for view in views)
    context.table(
        ("NAME", "STATE", "IMAGE", "ADDRESS", "VCPUS", "MEMORY", "PID", *["LABELS"] * labelled),
        [(*_row(view), *[show_labels(view.labels) or "-"] * labelled) for view in views],
        state_colour,
    )


STATES = {
    VmState.RUNNING: Colour.GOOD,
    VmState.PAUSED: Colour.BUSY,
    VmState.STOPPED: Colour.DIM,
    VmState.SUSPENDED: Colour.DIM,
    VmState.CRASHED: Colour.TROUBLE,
    VmState.FAILED: Colour.TROUBLE,
}
"""All others are under way."""


def state_colour(head: str, cell: str) -> Colour:
    """Of a cell: that of the state in the column of states."""
    return STATES.get(VmState(cell), Colour.BUSY) if head == "STATE" else Colour.PLAIN


def _row(view: VmView) -> tuple[str, ...]:
    return (
        view.name,
        view.state,
        view.image,
        view.address or "-",
        str(view.vcpus),
        f"{view.memory_mib} MiB",
        str(view.pid or "-"),
    )


COMMAND = Command(
    path=("vm", "list"),
    summary="List the VMs and their states.",
    details="A pattern or a label that fits none lists none.",
    run=run,
    reply=list[VmView],
    arguments=(NAMES,),
    options=(LABEL,),
    examples=("banger vm list", "banger vm list 'web-*' --label stage=test"),
)
