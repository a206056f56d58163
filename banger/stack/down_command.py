from __future__ import annotations

from itertools import groupby
from typing import Any

from banger.client.ssh import forget_host
from banger.commands.context import Context
from banger.commands.declare import Command, Kind, Option
from banger.commands.many import Outcome
from banger.commands.select import PARALLEL, check_parallel
from banger.kernel.errors import BangerError, ErrorReply
from banger.kernel.message import Request
from banger.model.requests.vms import DeleteVm, StopVm
from banger.model.vm import VmState, VmView
from banger.stack.find import STACK_NAME, find_stack
from banger.stack.labels import level_of


def run(context: Context, *, name: str, keep: bool, parallel: int) -> int:
    check_parallel(parallel)
    views = find_stack(context, name)
    if keep:
        views = [view for view in views if view.state is VmState.RUNNING]
    outcomes: list[Outcome] = []
    code = 0
    for _, level in groupby(reversed(views), level_of):
        for outcome in _level(context, list(level), keep=keep, parallel=parallel):
            outcomes.append(outcome)
            code = code or (outcome.error.exit_code if outcome.error else 0)
        if code:
            break  # what others depend on stays while they are there
    context.document(outcomes)
    if not views:
        context.line(f"no VM of stack {name} runs")
    return code


def _level(context: Context, views: list[VmView], *, keep: bool, parallel: int) -> list[Outcome]:
    """All VMs that stand equally high, some at a time."""
    names = [view.name for view in views]
    requests: list[Request[Any]] = [StopVm(n) if keep else DeleteVm(n) for n in names]

    def tell(number: int, outcome: object) -> None:
        if isinstance(outcome, BangerError):
            context.note(f"banger: {outcome}")
        else:
            context.line(f"{names[number]} {'stopped' if keep else 'deleted'}")

    done = context.daemon.call_all(requests, at_once=parallel, on_outcome=tell)
    found = []
    for name, outcome in zip(names, done, strict=True):
        if isinstance(outcome, BangerError):
            found.append(Outcome(name, None, ErrorReply.of(outcome)))
        else:
            found.append(Outcome(name, outcome, None))
            if not keep:
                forget_host(context.paths, name)
    return found


COMMAND = Command(
    path=("stack", "down"),
    summary="Delete the VMs of a stack with their disks, or stop them.",
    details="Those that depend on others go first. Nothing is asked.",
    run=run,
    reply=list[Outcome],
    mutates=True,
    arguments=(STACK_NAME,),
    options=(
        Option("keep", ("--keep",), "Only stop them; 'banger apply' starts them again.", Kind.FLAG),
        PARALLEL,
    ),
    examples=("banger stack down shop",),
)
