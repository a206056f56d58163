"""From statements to a plan: variables, ``each`` and ``include`` resolved, problems told."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence

from banger.batch.json_path import parse_path
from banger.batch.load import Script
from banger.batch.plan import (
    Capturing,
    Command,
    Deferring,
    Expectation,
    Fork,
    Late,
    Order,
    Pausing,
    Plan,
    Step,
    Value,
    Waiting,
    Wanted,
)
from banger.batch.problems import Place, Problems, TooMany
from banger.batch.tree import (
    Capture,
    Condition,
    Defer,
    Each,
    Expect,
    Include,
    Let,
    Parallel,
    Pause,
    Run,
    Statement,
    Statements,
    Text,
    Until,
    Variable,
    Word,
    Words,
)
from banger.kernel.errors import UsageError

STEPS_MAX = 10_000
"""Statements of a plan once every ``each`` is written out."""
VALUE_MAX = 64 << 10
"""Characters of one word."""
PLAN_CHARACTERS_MAX = 16 << 20
SECONDS_MAX = 86400.0

Parts = tuple[str | Late, ...]
Variables = dict[str, Parts]


def expand(
    script: Script, arguments: Sequence[str], environ: Mapping[str, str], problems: Problems
) -> Plan:
    """The whole plan. Raises `TooMany` where it grows beyond all use."""
    variables: Variables = {str(n): (text,) for n, text in enumerate(arguments, 1)}
    expander = _Expander(script.included, environ, problems)
    return tuple(expander.plan(script.statements, variables))


class _Expander:
    def __init__(
        self,
        included: Mapping[Place, Statements],
        environ: Mapping[str, str],
        problems: Problems,
    ) -> None:
        self._included = included
        self._environ = environ
        self._problems = problems
        self._steps = 0
        self._slots = 0
        self._characters = 0

    def plan(self, statements: Statements, variables: Variables) -> Iterator[Step]:
        """``variables`` are as they are after the statements, in the end."""
        for statement in statements:
            self._count(statement.at)
            match statement:
                case Let(name=name, value=word):
                    variables[name] = self._value(word, variables).parts
                case Include(at=at):
                    yield from self.plan(self._included.get(at, ()), variables)
                case Each(name=name, items=items, body=body):
                    for item in self._values(items, variables):
                        self._count(statement.at)
                        variables[name] = item.parts
                        yield from self.plan(body, variables)
                case Parallel(at=at, body=body, keep_going=keep_going):
                    yield Fork(at, tuple(self._branches(body, variables)), keep_going)
                case _:
                    yield self._step(statement, variables)

    def _branches(self, body: Statements, variables: Variables) -> Iterator[Plan]:
        """Each statement is a branch, and so is each round of an ``each`` among them.

        What a branch sets stays in it.
        """
        for statement in body:
            if not isinstance(statement, Each):
                yield tuple(self.plan((statement,), dict(variables)))
                continue
            for item in self._values(statement.items, variables):
                self._count(statement.at)
                yield tuple(self.plan(statement.body, {**variables, statement.name: item.parts}))

    def _step(self, statement: Statement, variables: Variables) -> Step:
        match statement:
            case Run(words=words):
                return Command(self._order(words, variables))
            case Defer(words=words):
                return Deferring(self._order(words, variables))
            case Expect(condition=condition, words=words):
                wanted = self._wanted(condition, variables)
                return Expectation(self._order(words, variables), wanted)
            case Pause(at=at, seconds=seconds):
                return Pausing(at, self._seconds(seconds, variables))
            case Until():
                timeout_s = self._optional_seconds(statement.timeout_s, variables)
                every_s = self._optional_seconds(statement.every_s, variables)
                order = self._order(statement.words, variables)
                wanted = self._wanted(statement.condition, variables)
                return Waiting(order, wanted, timeout_s, every_s)
            case Capture(name=name, words=words, path=path):
                order = self._order(words, variables)
                chosen = None if path is None else self._path(path, variables)
                self._slots += 1
                variables[name] = (Late(self._slots, name),)
                return Capturing(order, self._slots, chosen)
        raise AssertionError(statement)

    # --- values ---

    def _order(self, words: Words, variables: Variables) -> Order:
        values = self._values(words, variables)
        return Order(values[0].at, values)

    def _values(self, words: Words, variables: Variables) -> tuple[Value, ...]:
        return tuple(self._value(word, variables) for word in words)

    def _value(self, word: Word, variables: Variables) -> Value:
        parts: list[str | Late] = []
        length = 0
        for part in word.parts:
            found = (part.text,) if isinstance(part, Text) else self._look_up(part, variables)
            parts += found
            length += sum(len(p) if isinstance(p, str) else 1 for p in found)
            if length > VALUE_MAX:
                self._problems.add(word.at, f"this comes to more than {VALUE_MAX} characters")
                return Value(("",), word.at)
        self._characters += length
        if self._characters > PLAN_CHARACTERS_MAX:
            self._problems.add(word.at, "all values together come to more than 16 MiB up to here")
            raise TooMany("the values of the file are too large")
        return Value(_joined(parts), word.at)

    def _look_up(self, variable: Variable, variables: Variables) -> Parts:
        name = variable.name
        if name in variables:
            return variables[name]
        # One that is missing is told once: what is made of it counts as known only later.
        missing: Parts = (Late(0, name),)
        if name.startswith("env:"):
            if (text := self._environ.get(name.removeprefix("env:"))) is not None:
                return (text,)
            self._problems.add(variable.at, f"the environment has no {name[4:]}")
        elif name.isdecimal():
            count = sum(key.isdecimal() for key in variables)
            given = f"{count} were" if count != 1 else "1 was"
            self._problems.add(variable.at, f"there is no argument {name}: {given} given")
        else:
            import difflib

            near = difflib.get_close_matches(name, variables, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "'let' sets one before it is used"
            self._problems.add(variable.at, f"there is no variable {name!r} here", hint)
        return missing

    # --- values that must be of a kind ---

    def _wanted(self, condition: Condition, variables: Variables) -> Wanted:
        code = None if condition.code is None else self._value(condition.code, variables)
        if code is not None and (text := code.known) is not None and not is_code(text):
            self._problems.add(code.at, f"--code {text[:80]!r} is not a number from 0 to 255")
        matches = self._values(condition.matches, variables)
        for pattern in matches:
            if pattern.known is not None and (error := pattern_error(pattern.known)):
                self._problems.add(pattern.at, f"--match is no regular expression: {error}")
        return Wanted(code, self._values(condition.outputs, variables), matches)

    def _seconds(self, word: Word, variables: Variables) -> Value:
        value = self._value(word, variables)
        if value.known is not None and seconds_of(value.known) is None:
            message = f"{value.known[:80]!r} is not a number of seconds up to {SECONDS_MAX:.0f}"
            self._problems.add(word.at, message)
        return value

    def _optional_seconds(self, word: Word | None, variables: Variables) -> Value | None:
        return None if word is None else self._seconds(word, variables)

    def _path(self, word: Word, variables: Variables) -> Value:
        value = self._value(word, variables)
        if value.known is not None:
            try:
                parse_path(value.known)
            except UsageError as error:
                self._problems.add(word.at, error.message, error.hint)
        return value

    def _count(self, at: Place) -> None:
        self._steps += 1
        if self._steps > STEPS_MAX:
            self._problems.add(at, f"written out, the file has more than {STEPS_MAX} statements")
            raise TooMany("the file comes to too many statements")


def _joined(parts: list[str | Late]) -> Parts:
    """With what is known side by side as one."""
    groups = itertools.groupby(parts, lambda part: isinstance(part, str))
    return tuple(
        piece
        for known, group in groups
        for piece in (["".join(map(str, group))] if known else group)
    )


def is_code(text: str) -> bool:
    return text.isdecimal() and len(text) <= 3 and int(text) <= 255


def seconds_of(text: str) -> float | None:
    """A number of seconds, None for anything else."""
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", text, re.ASCII):
        return None
    return float(text) if float(text) <= SECONDS_MAX else None


def pattern_error(pattern: str) -> str:
    """What is wrong with a regular expression; "" is nothing."""
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        return str(error)
    return ""
