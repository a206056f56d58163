"""What happens while a file runs: lines for people, or one JSON object a line."""

from __future__ import annotations

import threading
from typing import Any

import msgspec

from banger.batch.plan import Order
from banger.batch.problems import Place, Problem
from banger.commands.sink import Sink
from banger.kernel.errors import ERROR_TEXT_LIMIT, BangerError, ErrorReply
from banger.model.text import printable

OUTPUT_SHOWN = 64 << 10
"""Characters of a command's output in an event."""


class Happening(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of ``banger run --json``. Fields that say nothing are left out.

    ``event`` is problem, planned, begun, done, failed, cancelled, undone or ended.
    """

    event: str
    file: str = ""
    line: int = 0
    column: int = 0
    command: str = ""
    deferred: bool = False
    code: int | None = None
    seconds: float | None = None
    result: Any = None
    """The document that the command's own ``--json`` prints."""
    output: str = ""
    value: str | None = None
    """What was captured."""
    vm: str = ""
    message: str = ""
    hint: str = ""
    error: ErrorReply | None = None
    branch: list[int] = []
    """Which branch of each ``parallel`` block around it, from 1, the outermost first."""
    changes: list[Change] = []


class Change(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a command would do. ``problem`` is why it would fail, ``code`` with what.

    ``verb`` is create, change, delete, use or look.
    """

    verb: str
    kind: str
    name: str
    how: str = ""
    problem: str = ""
    code: int = 0

    def show(self) -> str:
        said = " ".join(filter(None, (self.verb, self.kind, self.name)))
        return f"{said}: {self.how}" if self.how else said


class Outcome(msgspec.Struct, frozen=True):
    """What a command came to."""

    code: int
    seconds: float
    output: str = ""
    """Kept, of stdout."""
    errors: str = ""
    """Kept, of stderr."""
    document: Any = None
    error: BangerError | None = None

    @property
    def text(self) -> str:
        """All it said."""
        return self.output + self.errors + (f"{self.error}\n" if self.error else "")

    @property
    def complaint(self) -> str:
        """Why it counts as failed; "" when it does not."""
        if self.error is not None:
            return str(self.error)
        return f"exit code {self.code}" if self.code else ""


class Report:
    """Safe for threads: what belongs together is written together."""

    def __init__(self, sink: Sink, *, json: bool) -> None:
        self.json = json
        self._sink = sink
        self._lock = threading.Lock()

    def begun(self, order: Order, *, deferred: bool = False) -> None:
        self._tell("begun", order, deferred=deferred)

    def done(
        self, order: Order, outcome: Outcome, *, deferred: bool = False, value: str | None = None
    ) -> None:
        self._tell("done", order, deferred=deferred, value=value, **_of(outcome))

    def failed(
        self, order: Order, outcome: Outcome, complaint: str, *, deferred: bool = False
    ) -> None:
        self._tell("failed", order, deferred=deferred, message=complaint, **_of(outcome))
        self._note(f"banger: {order.at}: {order.show()}: {complaint}")

    def cancelled(self, order: Order) -> None:
        self._tell("cancelled", order)
        self._note(f"banger: {order.at}: {order.show()}: cancelled")

    def undone(self, at: Place, vm: str, error: BangerError | None) -> None:
        """A VM that the block at this place had created."""
        failed = None if error is None else ErrorReply.of(error)
        self.write(Happening("undone", at.file, at.line, vm=vm, error=failed))
        said = f"VM {vm!r} is deleted again" if error is None else f"can't undo VM {vm!r}: {error}"
        self._note(f"banger: {at}: {said}")

    def ended(self, code: int, seconds: float) -> None:
        self.write(Happening("ended", code=code, seconds=round(seconds, 3)))

    def problem(self, problem: Problem) -> None:
        at = problem.at
        self.write(
            Happening(
                "problem",
                at.file,
                at.line,
                at.column,
                message=problem.message,
                hint=problem.hint,
            )
        )

    def show(self, outcome: Outcome) -> None:
        """What a command that ran beside others has said."""
        if self.json:
            return
        with self._lock:
            if outcome.output:
                self._sink.out(outcome.output)
            if outcome.errors:
                self._sink.err(outcome.errors)

    def line(self, text: str) -> None:
        if not self.json:
            self._sink.out(text + "\n")

    def write(self, happening: Happening) -> None:
        if self.json:
            with self._lock:
                self._sink.out(msgspec.json.encode(happening).decode() + "\n")

    def _tell(self, event: str, order: Order, **fields: Any) -> None:
        at = order.at
        self.write(Happening(event, at.file, at.line, at.column, order.show(), **fields))

    def _note(self, text: str) -> None:
        if not self.json:
            with self._lock:
                self._sink.err(printable(text, limit=ERROR_TEXT_LIMIT) + "\n")


def _of(outcome: Outcome) -> dict[str, Any]:
    return {
        "code": outcome.code,
        "seconds": round(outcome.seconds, 3),
        "result": outcome.document,
        "output": "" if outcome.document is not None else outcome.text[-OUTPUT_SHOWN:],
        "error": None if outcome.error is None else ErrorReply.of(outcome.error),
    }
