"""A file and all it includes, read and parsed before anything else happens."""

from __future__ import annotations

import os
from collections.abc import Sequence

import msgspec

from banger.batch.grammar import parse
from banger.batch.problems import Place, Problems
from banger.batch.source import Source, check_text, read_source
from banger.batch.tree import Each, Include, Parallel, Statements
from banger.kernel.errors import BangerError

INCLUDE_DEPTH_MAX = 16
FILES_MAX = 256


class Script(msgspec.Struct, frozen=True):
    """Statements of the file asked for, and of those included, by the place of their include."""

    statements: Statements
    included: dict[Place, Statements]
    lines: dict[str, Sequence[str]]
    """Of each file, to be shown with its problems."""


def load(path: str, problems: Problems) -> Script:
    """Raises the error of a main file that can't be read; all else is told to ``problems``."""
    loader = _Loader(problems)
    source = read_source(path, path)
    statements = loader.take(source, (source,))
    return Script(statements, loader.included, loader.lines)


class _Loader:
    def __init__(self, problems: Problems) -> None:
        self.included: dict[Place, Statements] = {}
        self.lines: dict[str, Sequence[str]] = {}
        self._problems = problems
        self._parsed: dict[str, tuple[Source, Statements]] = {}

    def take(self, source: Source, within: tuple[Source, ...]) -> Statements:
        """Parse a file and what it includes. ``within``: it, and the files that include it."""
        self.lines[source.name] = source.lines
        if not check_text(source, self._problems):
            return ()
        statements = parse(source.name, source.lines, self._problems)
        for include in _includes(statements):
            self.included[include.at] = self._include(include, within)
        return statements

    def _include(self, include: Include, within: tuple[Source, ...]) -> Statements:
        path = os.path.normpath(os.path.join(within[-1].directory, include.path))  # noqa: PTH118
        if len(within) > INCLUDE_DEPTH_MAX:
            message = f"more than {INCLUDE_DEPTH_MAX} files include each other"
            return self._refuse(include, message)
        if path in self._parsed:
            source, statements = self._parsed[path]
            return self._refuse(include, _CYCLE) if _is_in(source, within) else statements
        if len(self._parsed) == FILES_MAX:
            return self._refuse(include, f"more than {FILES_MAX} files are included")
        try:
            source = read_source(path, path)
        except BangerError as error:
            self._problems.add(include.at, error.message, error.hint)
            return ()
        if _is_in(source, within):
            return self._refuse(include, _CYCLE)
        statements = self.take(source, (*within, source))
        self._parsed[path] = (source, statements)
        return statements

    def _refuse(self, include: Include, message: str) -> Statements:
        self._problems.add(include.at, message)
        return ()


_CYCLE = "this file includes itself by that"


def _is_in(source: Source, within: tuple[Source, ...]) -> bool:
    return any(source.identity == other.identity for other in within if other.identity)


def _includes(statements: Statements) -> list[Include]:
    found: list[Include] = []
    for statement in statements:
        match statement:
            case Include():
                found.append(statement)
            case Each(body=body) | Parallel(body=body):
                found += _includes(body)
    return found
