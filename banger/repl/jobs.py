"""Commands that run while the prompt is there, each in a thread of its own."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable

import msgspec

from banger.cli.invocation import Invocation
from banger.client.lines import readable
from banger.commands.context import Context
from banger.commands.session import Session
from banger.commands.sink import Sink
from banger.kernel.errors import (
    ERROR_TEXT_LIMIT,
    BangerError,
    ErrorDocument,
    ErrorReply,
    UsageError,
)
from banger.model.text import printable

ENDING_S = 20.0
"""How long commands that were cancelled may take to undo what they did, when the shell ends."""


class Job:
    """One command. ``status`` is what it is doing, ``code`` its exit code once it has ended.

    ``kept`` is what it has said while that may turn out to be a page; None: it is shown at once.
    """

    def __init__(self, number: int, line: str, invocation: Invocation, *, background: bool) -> None:
        self.number = number
        self.line = line
        self.invocation = invocation
        self.background = background
        self.kept: list[str] | None = None if background else []
        self.status = ""
        self.code: int | None = None
        self.cancelled = False
        self.context: Context | None = None
        self.thread: threading.Thread | None = None

    def cancel(self) -> None:
        """It is undone. Once more, and so is what it does to clean up."""
        self.cancelled = True
        if self.context is not None:
            self.context.cancel()


class Jobs:
    """Those that run, by number. ``say`` and ``changed`` are called from their threads."""

    def __init__(
        self,
        session: Session,
        say: Callable[[Job, str], None],
        changed: Callable[[], None],
        ended: Callable[[Job], None],
    ) -> None:
        self.running: dict[int, Job] = {}
        self._session = session
        self._say = say
        self._changed = changed
        self._ended = ended
        self._numbers = itertools.count(1)

    def start(self, line: str, invocation: Invocation, *, background: bool) -> Job:
        if not self.running:
            self._numbers = itertools.count(1)
        job = Job(next(self._numbers), line, invocation, background=background)
        self.running[job.number] = job
        sink = _JobSink(job, self._say, self._changed)
        job.context = Context(self._session, sink, json=invocation.json)
        # The process may leave without one that does not end.
        job.thread = threading.Thread(target=self._run, args=(job, sink), daemon=True)
        job.thread.start()
        return job

    def end_all(self) -> None:
        """Cancel all, and wait until they are undone."""
        jobs = list(self.running.values())
        for job in jobs:
            job.cancel()
        for job in jobs:
            assert job.thread is not None
            job.thread.join(ENDING_S)

    def _run(self, job: Job, sink: _JobSink) -> None:
        assert job.context is not None
        try:
            with job.context as context:
                job.code = job.invocation.run(context)
        except Exception as error:
            text, job.code = failure(error, json=job.invocation.json)
            sink.err(text)
        finally:
            sink.close()
            self._ended(job)


def failure(error: Exception, *, json: bool) -> tuple[str, int]:
    """What is told of a command that raised, and its exit code."""
    match error:
        case BangerError():
            told = error
        case UnicodeEncodeError():
            told = UsageError(f"{error.object[:80]!r} is not UTF-8")
        case OSError():
            where = f"{error.filename}: " if error.filename else ""
            told = BangerError(f"can't go on: {where}{error.strerror or error}")
        case _:
            told = BangerError(f"internal error: {error!r}")
    if json:
        document = msgspec.json.encode(ErrorDocument(ErrorReply.of(told)))
        return msgspec.json.format(document).decode() + "\n", told.exit_code
    return printable(f"banger: {told}", limit=ERROR_TEXT_LIMIT) + "\n", told.exit_code


class _JobSink(Sink):
    """Whole lines above the prompt. What guests write is made safe: the screen is shared."""

    live = True

    def __init__(
        self, job: Job, say: Callable[[Job, str], None], changed: Callable[[], None]
    ) -> None:
        self._job = job
        self._say = say
        self._changed = changed
        self._rest = ""
        self._lock = threading.Lock()

    def out(self, text: str) -> None:
        with self._lock:
            whole, newline, self._rest = (self._rest + text).rpartition("\n")
            if newline:
                self._say(self._job, whole + "\n")

    err = out

    def out_bytes(self, data: bytes) -> None:
        self.out(readable(data.replace(b"\r\n", b"\n")))

    err_bytes = out_bytes

    def status(self, text: str) -> None:
        if text != self._job.status:
            self._job.status = text
            self._changed()

    def close(self) -> None:
        self.status("")
        if self._rest:
            self.out("\n")
