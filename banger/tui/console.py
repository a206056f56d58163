"""The end of a guest's console, as lines that a terminal can be given."""

from __future__ import annotations

import re
from collections import deque

from banger.model.text import printable

LINES = 500
LINE_CHARACTERS = 1000
REST_BYTES = 16 << 10

_escape = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|\x1b[\]P^_][^\x07\x1b]*(?:\x07|\x1b\\)?"  # OSC, DCS: titles and the like
    r"|\x1b[ -/]*."
)


class ConsoleTail:
    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=LINES)
        self._rest = b""

    def feed(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._lines.extend(_shown(line) for line in lines[-LINES:])
        self._rest = self._rest[-REST_BYTES:]

    def last(self, count: int) -> list[str]:
        """The last lines, with the one that has no end yet."""
        rest = [_shown(self._rest)] if self._rest else []
        return [*self._lines, *rest][-count:] if count > 0 else []


def _shown(line: bytes) -> str:
    text = _escape.sub("", line.decode(errors="replace")).rstrip("\r")
    # What was written over by a carriage return is not seen on a terminal either.
    return printable(text.rpartition("\r")[2].replace("\t", "    "), limit=LINE_CHARACTERS)
