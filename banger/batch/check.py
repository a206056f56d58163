"""Every command of a plan looked at before the first one runs."""

from __future__ import annotations

import re
from collections.abc import Iterator

from banger.batch.plan import Command, Fork, Late, Order, Plan, Value
from banger.batch.problems import Problems
from banger.batch.rehearsal import rehearse
from banger.cli.invocation import Invocation, parse
from banger.cli.plugins import Plugins
from banger.commands.session import Session
from banger.kernel.errors import BangerError, UsageError

BANGER = "banger"
NOT_HERE = {
    ("run",): "'include' takes another file in",
    ("repl",): "this is its language already",
}
"""Commands that make no sense in a file, and what to do instead."""

_STAND_IN = 731000000
_quoted = re.compile(r"'([^']+)'")
_stood_in = re.compile(r"731\d{6}")


def stand_in(part: Late) -> str:
    """For a value that comes late: digits, which are a legal name, number and size."""
    return str(_STAND_IN + part.slot)


def with_stand_ins(order: Order) -> list[str]:
    return [
        "".join(stand_in(part) if isinstance(part, Late) else part for part in word.parts)
        for word in order.words
    ]


def late_names(order: Order) -> dict[str, str]:
    """What each stand-in stands for, as it is written in a file."""
    return {
        stand_in(part): f"${{{part.name}}}"
        for word in order.words
        for part in word.parts
        if isinstance(part, Late)
    }


def check(plan: Plan, session: Session, problems: Problems) -> None:
    """Tell of all that is wrong, as far as it can be known beforehand. Asks no daemon, but
    for what plugins add to the command line."""
    plugins = Plugins(session.interface)
    seen: set[tuple[str, ...]] = set()
    for order, no_terminal in _orders(plan, no_terminal=False):
        words = with_stand_ins(order)
        key = (str(no_terminal), *words)
        if key in seen:
            continue
        seen.add(key)
        try:
            invocation = understand(order, words, plugins)
            _check_place(invocation, no_terminal=no_terminal)
            rehearse(invocation, session)
        except UsageError as error:
            _tell(order, error, problems)
        except BangerError as error:
            problems.add(order.at, error.message, error.hint)


def understand(order: Order, words: list[str], plugins: Plugins) -> Invocation:
    if words[0] == BANGER:
        raise UsageError(
            "the line begins with 'banger'", hint="commands are written without it", word=0
        )
    return parse(words, plugins)


def _check_place(invocation: Invocation, *, no_terminal: bool) -> None:
    path = invocation.command.path
    if path in NOT_HERE:
        raise UsageError(f"{' '.join(path)!r} can't stand in a file", hint=NOT_HERE[path], word=0)
    if no_terminal and invocation.takes_terminal:
        raise UsageError("this takes the terminal, and does not have it here", word=0)


def _tell(order: Order, error: UsageError, problems: Problems) -> None:
    if _stood_in.search(error.message) and late_names(order):
        return  # it is about a value that is not known yet
    word = _at_fault(order, error)
    problems.add(word.at, error.message, error.hint)


def _at_fault(order: Order, error: UsageError) -> Value:
    if error.word is not None and error.word < len(order.words):
        return order.words[error.word]
    quoted = _quoted.findall(error.message)
    named = (word for word in order.words if word.known and _is_named(word.known, error, quoted))
    return next(named, order.words[0])


def _is_named(text: str, error: UsageError, quoted: list[str]) -> bool:
    """Whether the message names this word: as a flag, or as what is between quotes."""
    if text.startswith("-"):
        return text in error.message.split()
    return any(piece in text for piece in quoted)


def _orders(plan: Plan, *, no_terminal: bool) -> Iterator[tuple[Order, bool]]:
    """With whether it runs without the terminal: beside others, or with its output kept."""
    for step in plan:
        if isinstance(step, Fork):
            for branch in step.branches:
                yield from _orders(branch, no_terminal=True)
        elif (order := getattr(step, "order", None)) is not None:
            yield order, no_terminal or not isinstance(step, Command)
