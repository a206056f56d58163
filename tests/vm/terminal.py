"""A pseudo-terminal with ``banger`` at its other end, as a person sits at it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from typing import Any

from tests.vm.instance import Instance

WHERE, HERE = b"\x1b[6n", b"\x1b[1;1R"
"""A program asks where the cursor is; terminals answer."""


class Terminal:
    def __init__(self, master: int, slave: int, process: subprocess.Popen[bytes]) -> None:
        self._master = master
        self._slave = slave
        self.process = process
        self.seen = ""
        self.drawn: Callable[[str], None] = lambda text: None
        """Is told of all that comes."""

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def expect(self, pattern: str, seconds: float = 30) -> re.Match[str]:
        """Read until the pattern is in what has come since the last match."""
        deadline = time.monotonic() + seconds
        while (match := re.search(pattern, self.seen)) is None:
            left = deadline - time.monotonic()
            assert left > 0, f"{pattern!r} did not come; seen: {self.seen!r}"
            self.seen += self.read(left)
        self.seen = self.seen[match.end() :]
        return match

    def read(self, seconds: float) -> str:
        """What comes first within this time; "" when nothing does."""
        if not select.select([self._master], [], [], seconds)[0]:
            return ""
        data = os.read(self._master, 65536)
        for _ in range(data.count(WHERE)):
            os.write(self._master, HERE)
        text = data.decode(errors="replace")
        self.drawn(text)
        return text

    def resize(self, rows: int, columns: int) -> None:
        _set_size(self._master, rows, columns)
        # The kernel tells only the foreground group of a controlling terminal.
        self.process.send_signal(signal.SIGWINCH)

    def modes(self) -> list[Any]:
        return termios.tcgetattr(self._slave)

    def await_exit(self, seconds: float = 30) -> int:
        """The exit code. What still comes is kept in ``seen``."""
        deadline = time.monotonic() + seconds
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"it does not end; seen: {self.seen!r}"
            self._drain(0.05)
        self._drain(0.05)
        return self.process.returncode

    def _drain(self, seconds: float) -> None:
        while data := self.read(seconds):
            self.seen += data


@contextlib.contextmanager
def terminal(
    instance: Instance, *arguments: str, rows: int = 30, columns: int = 90
) -> Iterator[Terminal]:
    """Run ``banger`` on a terminal of its own; killed at the end if need be."""
    master, slave = pty.openpty()
    try:
        _set_size(slave, rows, columns)
        process = instance.start(*arguments, stdin=slave, stdout=slave, stderr=slave)
        yield Terminal(master, slave, process)
    finally:
        instance.end_clients()
        os.close(master)
        os.close(slave)


def _set_size(fd: int, rows: int, columns: int) -> None:
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
