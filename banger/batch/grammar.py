"""From words to statements. ::

    file      = { statement }
    statement = "let" NAME "=" WORD
              | "let" NAME "=" "capture" command [ PATH ]
              | "expect" { condition } command
              | "wait" SECONDS
              | "wait" { "--timeout" SECONDS | "--every" SECONDS | condition } command
              | "defer" command
              | "include" TEXT
              | "each" NAME "in" WORD { WORD } { statement } "end"
              | "parallel" [ "--keep-going" ] { statement } "end"
              | command
    condition = "--code" NUMBER | "--output" TEXT | "--match" PATTERN
    command   = WORD { WORD }

Each stands on a line of its own; "end" and the openings of blocks do too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import NoReturn

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
    Until,
    Word,
    Words,
)
from banger.batch.words import NAME, Lines, Malformed

DEPTH_MAX = 16
"""Blocks within blocks."""
_NAME_HINT = "letters, digits and '_', the first no digit"
_CONDITIONS = ("--code", "--output", "--match")
_TIMES = ("--timeout", "--every")


def parse(file: str, lines: Sequence[str], problems: Problems) -> Statements:
    """What could be read of it; what could not is in ``problems``. Raises `TooMany`."""
    return _Parser(file, lines, problems).file()


class _Parser:
    def __init__(self, file: str, lines: Sequence[str], problems: Problems) -> None:
        self._lines = Lines(file, lines, problems)
        self._statements: Iterator[Words] = self._lines.statements()
        self._problems = problems

    def file(self) -> Statements:
        found: list[Statement] = []
        while True:
            body, end = self._body(0)
            found += body
            if end is None:
                return tuple(found)
            self._problems.add(end.at, "this 'end' closes no block")

    def _body(self, depth: int) -> tuple[Statements, Word | None]:
        """Statements up to the 'end' of their block, which is None at the end of the file."""
        found: list[Statement] = []
        for words in self._statements:
            if words[0].own == "end":
                if len(words) > 1:
                    self._problems.add(words[1].at, "nothing can stand behind 'end'")
                return tuple(found), words[0]
            with suppress(Malformed):
                found.append(self._statement(words, depth))
        return tuple(found), None

    def _statement(self, words: Words, depth: int) -> Statement:
        first, rest = words[0], words[1:]
        match first.own:
            case "let":
                return self._let(first, rest)
            case "expect":
                flags, command = self._flags(first, rest, _CONDITIONS)
                return Expect(first.at, _condition(flags), command)
            case "wait":
                return self._wait(first, rest)
            case "defer":
                return Defer(first.at, self._command(first, rest))
            case "include":
                return self._include(first, rest)
            case "each":
                return self._each(first, rest, depth)
            case "parallel":
                return self._parallel(first, rest, depth)
            case _:
                return Run(first.at, words)

    # --- the forms ---

    def _let(self, let: Word, rest: Words) -> Statement:
        if len(rest) < 2 or rest[1].own != "=":
            hint = "let NAME = VALUE, or let NAME = capture COMMAND; blanks around the '='"
            self._fail((rest[0] if rest else let).at, "this is not the form of 'let'", hint)
        name = self._name(rest[0])
        values = rest[2:]
        if values and values[0].own == "capture":
            words = self._command(values[0], values[1:])
            path = words[-1] if _ends_in_path(words) else None
            return Capture(let.at, name, words[:-1] if path else words, path)
        if len(values) != 1:
            at = values[1].at if values else rest[1].at
            self._fail(at, "'let' takes one value", "one with blanks needs quotes")
        return Let(let.at, name, values[0])

    def _wait(self, wait: Word, rest: Words) -> Statement:
        if len(rest) == 1 and not rest[0].own[:1].isalpha():
            return Pause(wait.at, rest[0])
        flags, command = self._flags(wait, rest, (*_CONDITIONS, *_TIMES))
        times = (flags.get("--timeout"), flags.get("--every"))
        timeout_s, every_s = (found[-1] if found else None for found in times)
        return Until(wait.at, _condition(flags), timeout_s, every_s, command)

    def _include(self, include: Word, rest: Words) -> Statement:
        if len(rest) != 1:
            self._fail((rest[1] if rest else include).at, "'include' takes the path of one file")
        path = rest[0].literal
        if not path:
            hint = "what is included is known before anything runs"
            self._fail(rest[0].at, "an included path has no variables and is not empty", hint)
        return Include(rest[0].at, path)

    def _each(self, each: Word, rest: Words, depth: int) -> Statement:
        good = len(rest) >= 2 and rest[1].own == "in"
        if not good:
            self._problems.add(
                (rest[0] if rest else each).at,
                "this is not the form of 'each'",
                "each NAME in VALUE VALUE ...",
            )
        elif len(rest) == 2:
            self._problems.add(rest[1].at, "there is no value for 'each' to take")
        body = self._block(each, depth)
        if not good:
            raise Malformed
        return Each(each.at, self._name(rest[0]), rest[2:], body)

    def _parallel(self, parallel: Word, rest: Words, depth: int) -> Statement:
        for word in rest:
            if word.own != "--keep-going":
                hint = "parallel, or parallel --keep-going; commands follow on lines of their own"
                self._problems.add(word.at, "this can't stand behind 'parallel'", hint)
        return Parallel(parallel.at, bool(rest), self._block(parallel, depth))

    def _block(self, opening: Word, depth: int) -> Statements:
        if depth == DEPTH_MAX:
            self._problems.add(opening.at, f"more than {DEPTH_MAX} blocks stand within each other")
            raise TooMany("blocks are nested too deeply")
        body, end = self._body(depth + 1)
        if end is None:
            self._problems.add(opening.at, f"this '{opening.own}' has no 'end'")
        return body

    # --- pieces ---

    def _flags(
        self, keyword: Word, words: Words, known: tuple[str, ...]
    ) -> tuple[dict[str, list[Word]], Words]:
        flags: dict[str, list[Word]] = {}
        while words and words[0].own.startswith("-"):
            flag = words[0]
            if flag.own not in known:
                hint = f"its options are {', '.join(known)}; they stand before the command"
                self._fail(flag.at, f"'{keyword.own}' has no option {flag.own[:80]}", hint)
            if len(words) == 1:
                self._fail(flag.at, f"{flag.own} needs a value")
            flags.setdefault(flag.own, []).append(words[1])
            words = words[2:]
        for once in ("--code", *_TIMES):
            if len(flags.get(once, ())) > 1:
                self._fail(flags[once][1].at, f"{once} is given twice")
        return flags, self._command(keyword, words)

    def _command(self, keyword: Word, words: Words) -> Words:
        if not words:
            self._fail(keyword.at, f"a command is missing behind '{keyword.own}'")
        return words

    def _name(self, word: Word) -> str:
        if not NAME.fullmatch(word.own):
            text = word.literal
            shown = "this" if text is None else repr(text[:80])
            self._fail(word.at, f"{shown} is no name of a variable", _NAME_HINT)
        return word.own

    def _fail(self, at: Place, message: str, hint: str = "") -> NoReturn:
        self._problems.add(at, message, hint)
        raise Malformed


def _condition(flags: dict[str, list[Word]]) -> Condition:
    code = flags.get("--code")
    outputs, matches = (tuple(flags.get(flag, ())) for flag in ("--output", "--match"))
    return Condition(code[0] if code else None, outputs, matches)


def _ends_in_path(words: Words) -> bool:
    """A bare last word that begins with '.', where the command has --json before any '--'."""
    own = [word.own for word in words]
    before = own[: own.index("--")] if "--" in own else own
    parts = words[-1].parts
    begins = words[-1].bare and bool(parts) and getattr(parts[0], "text", "").startswith(".")
    return begins and len(words) > 1 and "--json" in before
