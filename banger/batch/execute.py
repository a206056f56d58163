"""Runs one command and keeps what it came to."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any

import msgspec

from banger.batch.report import Outcome
from banger.cli.invocation import Invocation, parse
from banger.cli.plugins import Plugins
from banger.commands.cancellation import Cancellation
from banger.commands.context import Context
from banger.commands.sink import KeptSink, Sink
from banger.kernel.errors import BangerError, GuestError, Interrupted, TimedOut
from banger.model.requests.forks import ForkOutcome
from banger.model.requests.vms import SetVm
from banger.model.sizes import MIB, show_size

CREATORS = frozenset({("vm", "create")})
"""Commands that create a VM which stays, with an option for its labels."""
KEPT_BYTES_MAX = 16 * MIB
"""Of what a command says, where it is not passed on as it comes."""


class Execution(msgspec.Struct, frozen=True):
    """``keep``: keep what the command writes, instead of passing it on as it comes. ``label`` is
    given to a VM that the command creates, so that it can be found again."""

    context: Context
    cancellation: Cancellation
    keep: bool
    timeout_s: float | None = None
    label: str = ""


class _BoundedSink(KeptSink):
    """Keeps so much and no more: a guest that never stops must not fill our memory."""

    def __init__(self) -> None:
        super().__init__()
        self._left = KEPT_BYTES_MAX

    def out_bytes(self, data: bytes) -> None:
        self._count(len(data))
        super().out_bytes(data)

    def err_bytes(self, data: bytes) -> None:
        self._count(len(data))
        super().err_bytes(data)

    def _count(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise GuestError(f"it has said more than {show_size(KEPT_BYTES_MAX)}")


class _Recording(Context):
    """Remembers the documents of the command."""

    recorded: Any = None

    def document(self, value: Any) -> None:
        self.recorded = value
        super().document(value)


class _Deadline:
    """Cancels the command after a time; that it was this shows as `TimedOut`."""

    def __init__(self, context: Context, seconds: float) -> None:
        self._context = context
        self._seconds = seconds
        self._passed = False
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        if self._passed and isinstance(error, Interrupted):
            raise TimedOut(f"it has not ended after {self._seconds:.1f} s") from None

    def _end(self) -> None:
        self._passed = True
        self._context.cancel()


def _deadline(context: Context, execution: Execution) -> AbstractContextManager[None]:
    timeout_s = execution.timeout_s
    return nullcontext() if timeout_s is None else _Deadline(context, timeout_s)


def execute(execution: Execution, words: Sequence[str], *, json: bool) -> Outcome:
    """Errors are part of the outcome. Raises `Interrupted` when cancelled.

    With ``json`` the command's document is kept, whether it was asked to print one or not.
    """
    session = execution.context.session
    kept = _BoundedSink() if execution.keep or json else None
    sink: Sink = kept or execution.context.sink
    begun = time.monotonic()
    error: BangerError | None = None
    code = 0
    document: Any = None
    try:
        invocation = _labelled(parse(words, Plugins(session.interface)), execution.label)
        context = _Recording(session, sink, json=invocation.json)
        with context:
            try:
                with execution.cancellation.reaching(context), _deadline(context, execution):
                    code = invocation.run(context)
                    _mark_forks(context, execution.label)
            finally:
                document = context.recorded
    except Interrupted:
        raise
    except BangerError as failed:
        error, code = failed, failed.exit_code
    return Outcome(
        code,
        time.monotonic() - begun,
        kept.output if kept else "",
        kept.errors if kept else "",
        document if json else None,
        error,
    )


def _mark_forks(context: _Recording, label: str) -> None:
    """`vm fork` takes no labels: its VMs get theirs right after."""
    if not label or not isinstance(context.recorded, ForkOutcome):
        return
    key, _, value = label.partition("=")
    requests = [SetVm(view.name, labels={key: value}) for view in context.recorded.vms]
    try:
        context.daemon.call_all(requests)
    except Interrupted:
        context.daemon.call_all(requests)  # once told, it is cancelled no more
        raise


def _labelled(invocation: Invocation, label: str) -> Invocation:
    if not label or invocation.command.path not in CREATORS:
        return invocation
    parameters = {**invocation.parameters}
    parameters["labels"] = (*parameters["labels"], label)
    return msgspec.structs.replace(invocation, parameters=parameters)
