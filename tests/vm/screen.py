"""What a program shows that draws only what changes: an emulator behind the pseudo-terminal."""

from __future__ import annotations

import time

import pyte

from tests.vm.terminal import Terminal


class Screen:
    def __init__(self, terminal: Terminal, rows: int, columns: int) -> None:
        self.terminal = terminal
        self.raw = ""
        """All that was ever written."""
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.Stream(self._screen)
        terminal.drawn = self._draw

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self._screen.display)

    def shows(self, *texts: str, seconds: float = 30) -> float:
        """Wait until one of the texts is on the screen; how long that took."""
        begun = time.monotonic()
        while not any(text in self.text for text in texts):
            left = begun + seconds - time.monotonic()
            assert left > 0, f"{texts} is not shown:\n{self.text}"
            self._read(left)
        return time.monotonic() - begun

    def shows_no_more(self, text: str, seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while text in self.text:
            left = deadline - time.monotonic()
            assert left > 0, f"{text!r} is still shown:\n{self.text}"
            self._read(left)

    def type(self, text: str) -> None:
        self.terminal.type(text)

    def resize(self, rows: int, columns: int) -> None:
        self._screen.resize(rows, columns)
        self.terminal.resize(rows, columns)

    def await_exit(self) -> int:
        return self.terminal.await_exit()

    def _read(self, seconds: float) -> None:
        self.terminal.seen += self.terminal.read(seconds)

    def _draw(self, text: str) -> None:
        self.raw += text
        self._stream.feed(text)
