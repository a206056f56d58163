"""Output of several guests at once: whole lines, each with the name of its VM."""

from __future__ import annotations

from collections.abc import Callable

LINE_LIMIT_BYTES = 64 << 10
"""A longer line is cut: a guest that ends none must not fill our memory."""


class LineWriter:
    """Feed it bytes; it writes a line as soon as it is whole, safe for a terminal."""

    def __init__(self, write: Callable[[str], object], name: str) -> None:
        self._write_text = write
        self._name = name
        self._rest = b""

    def feed(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._write(line)
        while len(self._rest) > LINE_LIMIT_BYTES:
            self._write(self._rest[:LINE_LIMIT_BYTES])
            self._rest = self._rest[LINE_LIMIT_BYTES:]

    def close(self) -> None:
        """Write what came without an end of line."""
        if self._rest:
            self._write(self._rest)
            self._rest = b""

    def _write(self, line: bytes) -> None:
        text = readable(line.removesuffix(b"\r"))
        self._write_text(f"{self._name} | {text}\n")


def readable(data: bytes) -> str:
    """Text from a stranger without anything a terminal would obey; lines and tabs stay."""
    text = data.decode(errors="replace")
    return "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text)
