"""What a running command has: the daemon, the settings, and a way to show its reply."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from functools import cached_property
from typing import Any, TypeVar

import msgspec

from banger.client.connection import Connection
from banger.host.paths import Paths
from banger.kernel.errors import ERROR_TEXT_LIMIT
from banger.kernel.message import Request
from banger.model.text import printable

R = TypeVar("R")


class Context:
    def __init__(self, *, json: bool) -> None:
        self.json = json
        self.paths = Paths.here()
        self._open = ExitStack()

    def __enter__(self) -> Context:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @cached_property
    def daemon(self) -> Connection:
        """The daemon, started when none runs."""
        from banger.client.launch import connect_or_start

        return self._open.enter_context(connect_or_start(self.paths))

    def call(self, request: Request[R]) -> R:
        return self.daemon.call(request)

    # --- output ---

    def line(self, text: str) -> None:
        """Result for people, on stdout; nothing with ``--json``."""
        if not self.json:
            _write(text + "\n")

    def note(self, text: str) -> None:
        """A remark beside the result, on stderr."""
        if not self.json:
            sys.stderr.write(printable(text, limit=ERROR_TEXT_LIMIT) + "\n")
            sys.stderr.flush()

    def document(self, value: Any) -> None:
        """The result with ``--json``, the only thing on stdout."""
        if self.json:
            _write(msgspec.json.format(msgspec.json.encode(value)).decode() + "\n")

    def item(self, value: Any) -> None:
        """One of many results with ``--json``, each on a line of its own as it comes."""
        if self.json:
            _write(msgspec.json.encode(value).decode() + "\n")

    def table(self, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        if self.json:
            return
        lines = [list(head), *(list(row) for row in rows)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
        for line in lines:
            cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            _write("  ".join(cells).rstrip() + "\n")

    def details(self, pairs: Iterable[tuple[str, str]]) -> None:
        """One thing, a line each of its properties."""
        if self.json:
            return
        pairs = list(pairs)
        width = max(len(name) for name, _ in pairs)
        for name, value in pairs:
            _write(f"{name.ljust(width)}  {value}\n")


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
