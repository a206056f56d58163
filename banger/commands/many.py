"""One request for each of several VMs, some at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from banger.commands.context import Context
from banger.commands.select import Selection, check_parallel
from banger.kernel.errors import BangerError, ErrorReply
from banger.kernel.message import Request
from banger.model.vm import VmView


class Outcome(msgspec.Struct, frozen=True):
    """What became of one of several VMs, in ``--json`` output."""

    name: str
    result: VmView | None
    error: ErrorReply | None


def each(
    context: Context,
    selection: Selection,
    request_for: Callable[[str], Request[Any]],
    done: str,
    *,
    parallel: int,
    settled: Callable[[VmView], bool] = lambda view: False,
    tell_notes: bool = False,
) -> int:
    """A request for each VM; a line of result as each is done.

    ``done`` says what has been done, like "stopped". VMs found by a rule that are ``settled``
    already are left alone; one that was named is not. ``tell_notes``: also tell what the guest
    had to say when it started. Returns the exit code of the first failure in the order of the
    names, else 0.
    """
    check_parallel(parallel)
    already = {name: view for name, view in selection.listed.items() if settled(view)}
    names = [name for name in selection.names if name not in already]
    for name, view in already.items():
        context.line(f"{name} is {view.state} already")

    def tell(number: int, outcome: object) -> None:
        if isinstance(outcome, BangerError):
            context.note(f"banger: {outcome}")
        else:
            context.line(f"{names[number]} {done}")
            for note in outcome.notes if tell_notes and isinstance(outcome, VmView) else ():
                context.note(f"banger: {names[number]}: {note}")

    found: dict[str, VmView | BangerError | None] = dict(already)
    if names:
        requests = [request_for(name) for name in names]
        outcomes = context.daemon.call_all(requests, at_once=parallel, on_outcome=tell)
        found |= zip(names, outcomes, strict=True)
    context.document([_outcome(name, found[name]) for name in selection.names])
    errors = (found[name] for name in selection.names)
    return next((error.exit_code for error in errors if isinstance(error, BangerError)), 0)


def _outcome(name: str, outcome: VmView | BangerError | None) -> Outcome:
    if isinstance(outcome, BangerError):
        return Outcome(name, None, ErrorReply.of(outcome))
    return Outcome(name, outcome, None)
