from __future__ import annotations

import os

from banger.commands.context import Context
from banger.commands.declare import VM_NAME, Argument, Command, Kind, Option
from banger.kernel.errors import UsageError
from banger.model.names import check_name
from banger.model.requests.forks import ForkOutcome, ForkVm

FORKS_MAX = 64
STEM_LENGTH = 54
"""Of a name with at most 63 letters."""


def run(context: Context, *, name: str, new: tuple[str, ...], count: int | None) -> None:
    check_name("VM", name)
    if new and count is not None:
        raise UsageError("names and --count contradict each other: the names tell how many")
    if count is not None and not 1 <= count <= FORKS_MAX:
        raise UsageError(f"--count {count} is not within 1 and {FORKS_MAX}")
    if len(new) > FORKS_MAX:
        raise UsageError(f"{len(new)} forks at once are more than {FORKS_MAX}")
    names = [check_name("VM", other) for other in new]
    if not names:
        stem = name[:STEM_LENGTH].rstrip("-")
        names = [f"{stem}-{os.urandom(3).hex()}" for _ in range(count or 1)]
    outcome = context.call(ForkVm(name, names))
    context.document(outcome)
    for view in outcome.vms:
        context.line(f"{view.name} is {view.state} at {view.address}")
    context.note(f"{name} stood still for {outcome.paused_ms:.0f} ms")


COMMAND = Command(
    path=("vm", "fork"),
    summary="Make new VMs that go on from where a running one is.",
    details="Memory and disks are those of that moment; name, address, keys and all that tells one "
    "machine from another are new. All are made, or none.",
    run=run,
    reply=ForkOutcome,
    mutates=True,
    arguments=(
        VM_NAME,
        Argument("new", "Names of the new ones.", required=False, many=True),
    ),
    options=(Option("count", ("--count",), "How many, with names made up.", Kind.NUMBER, "N"),),
    examples=("banger vm fork testbox copy-1 copy-2", "banger vm fork testbox --count 5"),
)
