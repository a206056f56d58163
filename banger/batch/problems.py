"""What is wrong with a file, where, and how that is shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from banger.kernel.errors import UsageError

SHOWN_PROBLEMS = 50
SHOWN_COLUMNS = 100
"""Of a line that is shown; the piece around the mark."""
PROBLEMS_MAX = 1000
"""More are not looked for."""


class Place(msgspec.Struct, frozen=True):
    """Of ``width`` characters in a file. Lines and columns count from 1."""

    file: str
    line: int
    column: int
    width: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class Problem(msgspec.Struct, frozen=True):
    at: Place
    message: str
    hint: str = ""

    def __str__(self) -> str:
        hint = f" ({self.hint})" if self.hint else ""
        return f"{self.at.file}:{self.at.line}:{self.at.column}: {self.message}{hint}"


class TooMany(UsageError):
    """There is no point in going on."""


class Problems:
    """Those found so far, each once. Raises `TooMany` past `PROBLEMS_MAX`."""

    def __init__(self) -> None:
        self._found: dict[Problem, None] = {}

    def add(self, at: Place, message: str, hint: str = "") -> None:
        self._found[Problem(at, message, hint)] = None
        if len(self._found) >= PROBLEMS_MAX:
            raise TooMany(f"there are more than {PROBLEMS_MAX} problems")

    def __bool__(self) -> bool:
        return bool(self._found)

    def __iter__(self) -> Iterator[Problem]:
        """In the order of the files and their lines."""
        files: dict[str, int] = {}
        for problem in self._found:
            files.setdefault(problem.at.file, len(files))
        return iter(sorted(self._found, key=lambda p: (files[p.at.file], p.at.line, p.at.column)))


def show(problems: Problems, files: Mapping[str, Sequence[str]]) -> list[str]:
    """Lines for people; ``files`` are the lines of each file, for the one that is meant."""
    found = list(problems)
    lines: list[str] = []
    for problem in found[:SHOWN_PROBLEMS]:
        lines.append(str(problem))
        text = files.get(problem.at.file, ())
        if 0 < problem.at.line <= len(text):
            lines += _marked(text[problem.at.line - 1], problem.at)
    if len(found) > SHOWN_PROBLEMS:
        lines.append(f"and {len(found) - SHOWN_PROBLEMS} more problems")
    return lines


def _marked(line: str, at: Place) -> list[str]:
    """The line and a mark below it; a piece of the line where it is long."""
    start = max(0, at.column - 1 - SHOWN_COLUMNS // 2) if len(line) > SHOWN_COLUMNS else 0
    piece = line[start : start + SHOWN_COLUMNS].replace("\t", " ").rstrip()
    column = at.column - 1 - start
    width = max(1, min(at.width, len(piece) - column))
    return [f"    {piece}", "    " + " " * column + "^" + "~" * (width - 1)]
