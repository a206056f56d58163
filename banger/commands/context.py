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
from banger.kernel.errors import ERROR_TEXT_LIMIT, BangerError, ErrorReply
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


class Outcome(msgspec.Struct, frozen=True):
    """What became of one of several VMs, in ``--json`` output."""

    name: str
    result: Any
    error: ErrorReply | None


def each(
    context: Context, names: Sequence[str], requests: Sequence[Request[Any]], done: str
) -> int:
    """Send the requests at once; one line of result for each name.

    ``done`` says what has been done, like "stopped". Returns the exit code of the first
    failure, else 0.
    """
    outcomes: list[Outcome] = []
    code = 0
    for name, outcome in zip(names, context.daemon.call_all(requests), strict=True):
        if isinstance(outcome, BangerError):
            code = code or outcome.exit_code
            outcomes.append(Outcome(name, None, ErrorReply.of(outcome)))
            context.note(f"banger: {outcome}")
        else:
            outcomes.append(Outcome(name, outcome, None))
            context.line(f"{name} {done}")
    context.document(outcomes)
    return code


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
