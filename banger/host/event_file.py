"""Events on disk: one JSON object a line, in a file and the one before it, each bounded.

A line has the event's number in ``seq``, the Unix time in ``at``, and the event's own fields.
The file that is full becomes ``NAME.1``. What is no such line is passed over when it is read.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from banger.kernel.message import Lost
from banger.kernel.wire import BAD_BYTES
from banger.model.events import Recorded

LIMIT_BYTES = 2 << 20
EVENT_BYTES = 16 << 10
"""A larger event, of a plugin say, is not kept; `Lost` stands in its place."""


class EventFile:
    def __init__(self, path: Path) -> None:
        self.path = path
        self._older = path.with_name(path.name + ".1")
        self._torn = True
        """The last line may lack its end."""

    def load(self, limit: int) -> list[Recorded]:
        """The last events, at most ``limit``, with rising numbers."""
        lines: list[bytes] = []
        for path in (self._older, self.path):
            lines += _last_bytes(path).splitlines()
        found: list[Recorded] = []
        for line in lines[-limit:]:
            recorded = read_line(line)
            if recorded is not None and (not found or recorded.seq > found[-1].seq):
                found.append(recorded)
        return found

    def append(self, events: Sequence[Recorded]) -> None:
        """Raises OSError; then some of them may have been written."""
        data = b"".join(write_line(recorded) + b"\n" for recorded in events)
        with self.path.open("ab") as file:
            if self._torn and not self._ends_whole():
                data = b"\n" + data
            self._torn = True
            file.write(data)
            full = file.tell() >= LIMIT_BYTES
        self._torn = False
        if full:
            self.path.replace(self._older)

    def _ends_whole(self) -> bool:
        """A daemon that is killed, or a full disk, may leave a part of a line."""
        with self.path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 1))
            return file.read() in (b"", b"\n")


def write_line(recorded: Recorded) -> bytes:
    line = msgspec.json.encode(recorded.flat())
    if len(line) > EVENT_BYTES:
        line = msgspec.json.encode(Recorded(recorded.seq, recorded.at, Lost(1)).flat())
    return line


def read_line(line: bytes) -> Recorded | None:
    """None: it is no event, or one of another version's."""
    try:
        fields: Any = msgspec.json.decode(line)
        stamp = {"seq": fields.pop("seq"), "at": fields.pop("at")}
        return msgspec.convert(stamp | {"event": fields}, Recorded)
    except (*BAD_BYTES, AttributeError, KeyError, TypeError):
        return None


def _last_bytes(path: Path) -> bytes:
    """The end of the file, as much as one may hold; nothing when it can't be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 2 * LIMIT_BYTES))
            return file.read(2 * LIMIT_BYTES)
    except OSError:
        return b""
