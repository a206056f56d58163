"""Where in a TOML file each key stands: `tomllib` does not tell.

For text that is TOML already. Keys within inline tables and arrays are not found; what is said
of them is said of the key they belong to.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from banger.batch.problems import Place

Path = tuple[str | int, ...]

DEPTH_MAX = 8
"""Keys of stack files that mean anything are not deeper."""

_PART = r"(?:[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*')"
_KEY = rf"{_PART}(?:[ \t]*\.[ \t]*{_PART})*"
_header = re.compile(rf"[ \t]*(\[\[?)[ \t]*({_KEY})[ \t]*\]")
_assignment = re.compile(rf"[ \t]*({_KEY})[ \t]*=")
_part = re.compile(_PART)


class KeyPlaces:
    def __init__(self, file: str, lines: Sequence[str]) -> None:
        self._file = file
        self._places: dict[Path, Place] = {}
        self._counts: dict[Path, int] = {}
        self._table: Path = ()
        self._open = ""
        for number, line in enumerate(lines, 1):
            self._read(number, line)

    def at(self, path: Path) -> Place:
        """Of the key, else of what it stands in."""
        while path and path not in self._places:
            path = path[:-1]
        return self._places.get(path, Place(self._file, 1, 1))

    def _read(self, number: int, line: str) -> None:
        if self._open:
            if self._open in line:
                self._open = ""
            return
        if header := _header.match(line):
            path = self._within(_parts(header[2]))
            if header[1] == "[[":
                count = self._counts.get(path, 0)
                self._counts[path] = count + 1
                path = (*path, count)
            self._table = path
            self._put(path, number, header.start(2), header.end(2))
        elif key := _assignment.match(line):
            path = (*self._table, *_parts(key[1]))
            self._put(path, number, key.start(1), key.end(1))
            for quotes in ('"""', "'''"):
                if line.count(quotes) % 2:
                    self._open = quotes

    def _within(self, parts: Path) -> Path:
        """With the number of the table, where there is an array of them."""
        path: Path = ()
        for part in parts[:-1]:
            path = (*path, part)
            if path in self._counts:
                path = (*path, self._counts[path] - 1)
        return (*path, parts[-1])

    def _put(self, path: Path, line: int, start: int, end: int) -> None:
        place = Place(self._file, line, start + 1, end - start)
        for depth in range(1, min(len(path), DEPTH_MAX) + 1):
            self._places.setdefault(path[:depth], place)


def _parts(key: str) -> Path:
    return tuple(part.strip("\"'") for part in _part.findall(key))
