"""Reading files that may be anything: bounded, and never waiting for a FIFO or a device."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator, Sequence

import msgspec

from banger.batch.problems import Place, Problems
from banger.kernel.errors import BangerError, NotFound, UsageError
from banger.model.sizes import KIB, MIB, show_size

SOURCE_BYTES_MAX = MIB
LINE_MAX = 16 * KIB
"""Characters of one line."""
STANDARD_INPUT = "-"


class Source(msgspec.Struct, frozen=True):
    """``name`` is how messages call the file; ``directory`` is where its includes are."""

    name: str
    directory: str
    lines: Sequence[str]
    identity: tuple[int, int] | None = None
    """Device and inode."""


def read_source(path: str, name: str) -> Source:
    """Raises `NotFound`, or `UsageError` for what is not a readable text of bounded size."""
    if path == STANDARD_INPUT:
        return Source("standard input", ".", _split(_read(sys.stdin.fileno(), "standard input")))
    try:
        # Opened so that neither a FIFO nor a terminal can hold us.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NotFound(f"there is no file {name}") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"can't read {name}: {getattr(error, 'strerror', error)}") from error
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise UsageError(
                f"{name} is not a regular file",
                hint="'banger run -' reads standard input",
            )
        text = _read(fd, name)
    finally:
        os.close(fd)
    identity = (status.st_dev, status.st_ino)
    return Source(name, os.path.dirname(path) or ".", _split(text), identity)  # noqa: PTH120


def _read(fd: int, name: str) -> bytes:
    pieces: list[bytes] = []
    left = SOURCE_BYTES_MAX + 1
    try:
        while left and (piece := os.read(fd, min(left, 1 << 16))):
            pieces.append(piece)
            left -= len(piece)
    except OSError as error:
        raise BangerError(f"can't read {name}: {error.strerror}") from error
    if not left:
        raise UsageError(f"{name} is larger than {show_size(SOURCE_BYTES_MAX)}")
    return b"".join(pieces)


def _split(data: bytes) -> list[str]:
    """The lines; bytes that are not UTF-8 stay as surrogates, for `faults` to tell."""
    text = data.decode(errors="surrogateescape").removeprefix("\ufeff")
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return lines if lines[-1] else lines[:-1]


def check_text(source: Source, problems: Problems) -> bool:
    """Whether the file is text that can be parsed. Tells of the first line that is not."""
    for number, line in enumerate(source.lines, 1):
        if len(line) > LINE_MAX:
            problems.add(
                Place(source.name, number, LINE_MAX + 1),
                f"a line has more than {LINE_MAX} characters",
            )
            return False
        if line.isprintable():
            continue
        for column, message in _not_text(line):
            problems.add(Place(source.name, number, column), message)
            return False
    return True


def _not_text(line: str) -> Iterator[tuple[int, str]]:
    for column, character in enumerate(line, 1):
        code = ord(character)
        if 0xDC80 <= code <= 0xDCFF:
            yield column, f"the byte 0x{code - 0xDC00:02x} is not UTF-8"
        elif (code < 0x20 and character != "\t") or 0x7F <= code < 0xA0:
            yield column, f"there is a control character, U+{code:04X}"
