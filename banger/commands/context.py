"""What a running command has: the daemon, the settings, and a way to show its reply."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from banger.client.connection import Connection
from banger.commands.colour import Colour, painted
from banger.commands.session import Session
from banger.commands.sink import Sink
from banger.kernel.errors import ERROR_TEXT_LIMIT, Interrupted
from banger.kernel.message import Request
from banger.model.text import printable

if TYPE_CHECKING:
    from banger.host.paths import Paths

R = TypeVar("R")


class Context:
    """Of one command. All but `cancel` is for the thread that runs it."""

    def __init__(self, session: Session, sink: Sink, *, json: bool) -> None:
        self.json = json
        self.session = session
        self.sink = sink
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._cancelled = threading.Event()
        self._told: list[Callable[[], None]] = []

    def __enter__(self) -> Context:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            self.session.give_back(connection)

    @property
    def paths(self) -> Paths:
        return self.session.paths

    @property
    def daemon(self) -> Connection:
        """The daemon, started when none runs. A connection that has failed is replaced."""
        if self._connection is None or not self._connection.usable:
            self._connect()
        assert self._connection is not None
        return self._connection

    def _connect(self) -> None:
        self._drop()
        leased = self.session.lease()
        with self._lock:
            self._connection = leased
        self._check()

    def call(self, request: Request[R]) -> R:
        return self.daemon.call(request)

    # --- cancelling ---

    def cancel(self) -> None:
        """From another thread: what the command does, or does next, fails with `Interrupted`.

        Only that: what it does then to clean up is not cancelled, unless it is called again.
        """
        with self._lock:
            if self._connection is not None and self._connection.usable:
                self._connection.cancel()
            self._cancelled.set()
        for cancel in tuple(self._told):
            cancel()

    @contextmanager
    def telling(self, cancel: Callable[[], None]) -> Iterator[None]:
        """Meanwhile `cancel` also calls this, in the thread that cancels."""
        self._told.append(cancel)
        try:
            yield
        finally:
            self._told.remove(cancel)

    def sleep(self, seconds: float) -> None:
        """Raises `Interrupted` when the command is cancelled meanwhile."""
        self._cancelled.wait(seconds)
        self._check()

    def _check(self) -> None:
        if self._cancelled.is_set():
            self._drop()
            self._cancelled.clear()
            raise Interrupted

    def _drop(self) -> None:
        """Let go of a connection that was lost or cancelled: that cancelling has been told."""
        with self._lock:
            connection = self._connection
            if connection is None or (connection.usable and not connection.cancelled):
                return
            self._connection = None
            if connection.cancelled:
                self._cancelled.clear()
        connection.close()

    # --- output ---

    def line(self, text: str, colour: Colour = Colour.PLAIN) -> None:
        """Result for people, on stdout; nothing with ``--json``."""
        if not self.json:
            self.sink.out(self._painted(text, colour) + "\n")

    def note(self, text: str) -> None:
        """A remark beside the result, on stderr."""
        if not self.json:
            self.sink.err(printable(text, limit=ERROR_TEXT_LIMIT) + "\n")

    def status(self, text: str) -> None:
        """What is being done just now, for those who look on; "" takes it away."""
        if not self.json:
            self.sink.status(text)

    def document(self, value: Any) -> None:
        """The result with ``--json``, the only thing on stdout."""
        if self.json:
            self.sink.out(msgspec.json.format(msgspec.json.encode(value)).decode() + "\n")

    def item(self, value: Any) -> None:
        """One of many results with ``--json``, each on a line of its own as it comes."""
        if self.json:
            self.sink.out(msgspec.json.encode(value).decode() + "\n")

    def table(
        self,
        head: Sequence[str],
        rows: Iterable[Sequence[str]],
        colour: Callable[[str, str], Colour] = lambda head, cell: Colour.PLAIN,
    ) -> None:
        """``colour`` is that of a cell, by the head of its column and its text."""
        if self.json:
            return
        rows = [list(row) for row in rows]
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        lines = [[cell.ljust(width) for cell, width in zip(head, widths, strict=True)]]
        for row in rows:
            cells = zip(head, row, widths, strict=True)
            lines.append(
                [
                    self._painted(cell, colour(title, cell)) + " " * (width - len(cell))
                    for title, cell, width in cells
                ]
            )
        self.sink.out("".join("  ".join(line).rstrip() + "\n" for line in lines))

    def _painted(self, text: str, colour: Colour) -> str:
        return painted(text, colour) if self.sink.colours else text

    def details(self, pairs: Iterable[tuple[str, str]]) -> None:
        """One thing, a line each of its properties."""
        if self.json:
            return
        pairs = list(pairs)
        width = max(len(name) for name, _ in pairs)
        self.sink.out("".join(f"{name.ljust(width)}  {value}\n" for name, value in pairs))
