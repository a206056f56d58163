"""Where a command writes: this process's stdout and stderr, or somewhere else."""

from __future__ import annotations

import abc
import os
import sys
from typing import BinaryIO, TextIO


class Sink(abc.ABC):
    """What a command says. Commands that run beside each other have one each."""

    terminal = False
    """Whether the command may use stdin, signals and the terminal of this process."""
    final = False
    """Whether nothing comes after this command: this process may become another program."""
    live = False
    """Whether anybody sees `status`."""
    redraws = False
    """Whether what was written can be drawn over."""

    colours = False
    """Whether results may have colours."""

    @property
    def columns(self) -> int | None:
        """Of the terminal that results end up on; None: on none."""
        return None

    @abc.abstractmethod
    def out(self, text: str) -> None:
        """Results."""

    @abc.abstractmethod
    def err(self, text: str) -> None:
        """Remarks and errors."""

    def out_bytes(self, data: bytes) -> None:
        """Results that may be no text, as they are."""
        self.out(data.decode(errors="replace"))

    def err_bytes(self, data: bytes) -> None:
        self.err(data.decode(errors="replace"))

    def status(self, text: str) -> None:  # noqa: B027 - to be overridden where it is seen
        """What is being done just now, instead of what was said before; "" takes it away."""


class ProcessSink(Sink):
    """The streams of this process."""

    terminal = True

    def __init__(self, *, final: bool = False, live: bool = True) -> None:
        """``live`` False: plain lines, whatever they end up on."""
        self.final = final
        able = live and os.environ.get("TERM") != "dumb"
        self.live = able and sys.stderr.isatty()
        self.redraws = able and sys.stdout.isatty()
        self.colours = sys.stdout.isatty() and able and not os.environ.get("NO_COLOR")

    @property
    def columns(self) -> int | None:
        return _columns() if sys.stdout.isatty() else None

    def out(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    def err(self, text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()

    def out_bytes(self, data: bytes) -> None:
        _write_bytes(sys.stdout, data)

    def err_bytes(self, data: bytes) -> None:
        _write_bytes(sys.stderr, data)

    def status(self, text: str) -> None:
        if self.live:
            self.err(f"\r\x1b[K{text[: _columns() - 1]}")


class KeptSink(Sink):
    """Keeps all, for whoever ran the command."""

    def __init__(self) -> None:
        self._out = bytearray()
        self._err = bytearray()

    def out(self, text: str) -> None:
        self._out += text.encode(errors="replace")

    def err(self, text: str) -> None:
        self._err += text.encode(errors="replace")

    def out_bytes(self, data: bytes) -> None:
        self._out += data

    def err_bytes(self, data: bytes) -> None:
        self._err += data

    @property
    def output(self) -> str:
        return self._out.decode(errors="replace")

    @property
    def errors(self) -> str:
        return self._err.decode(errors="replace")


def _columns() -> int:
    import shutil  # it loads compression, and most output ends up on no terminal

    return shutil.get_terminal_size().columns


def _write_bytes(stream: TextIO, data: bytes) -> None:
    stream.flush()
    buffer: BinaryIO = stream.buffer
    buffer.write(data)
    buffer.flush()
