"""``vm exec`` in several VMs at once."""

from __future__ import annotations

from collections.abc import Sequence

from banger.client.lines import LineWriter
from banger.commands.context import Context
from banger.commands.vm_exec import Ran, exit_code
from banger.kernel.errors import BangerError, ErrorReply
from banger.model.requests.exec import AnyOutput, EndOfInput, ErrorOutput, Exec, ExecResult, Output


def exec_many(context: Context, requests: Sequence[Exec], parallel: int) -> int:
    """Run each with an empty stdin, ``parallel`` at a time. Returns the first code not 0."""
    if not requests:
        context.document([])
        return 0
    show = _Kept() if context.json else _Live(context, requests)
    outcomes = context.daemon.call_all(
        requests,
        at_once=parallel,
        feed=[EndOfInput()],
        items=AnyOutput,
        on_item=show.take,
        on_outcome=show.end,
    )
    if isinstance(show, _Kept):
        pairs = zip(requests, outcomes, strict=True)
        context.document([show.ran(n, r.name, outcome) for n, (r, outcome) in enumerate(pairs)])
    return next(filter(None, map(_code, outcomes)), 0)


def _code(outcome: ExecResult | BangerError) -> int:
    return outcome.exit_code if isinstance(outcome, BangerError) else exit_code(outcome)


class _Live:
    """Lines as they come, then a remark on each command that did not end well."""

    def __init__(self, context: Context, requests: Sequence[Exec]) -> None:
        self._context = context
        self._names = [request.name for request in requests]
        self._writers: dict[tuple[int, type], LineWriter] = {}
        for number, name in enumerate(self._names):
            self._writers[number, Output] = LineWriter(context.sink.out, name)
            self._writers[number, ErrorOutput] = LineWriter(context.sink.err, name)

    def take(self, number: int, item: Output | ErrorOutput) -> None:
        self._writers[number, type(item)].feed(item.data)

    def end(self, number: int, outcome: ExecResult | BangerError) -> None:
        for kind in (Output, ErrorOutput):
            self._writers[number, kind].close()
        name = self._names[number]
        if isinstance(outcome, BangerError):
            self._context.note(f"banger: {name}: {outcome}")
        elif outcome.timed_out:
            self._context.note(f"banger: {name}: the command was ended at its timeout")
        elif outcome.signal:
            self._context.note(f"banger: {name}: signal {outcome.signal} ended the command")
        elif outcome.code:
            self._context.note(f"banger: {name}: exit code {outcome.code}")


class _Kept:
    """All output, kept for the document."""

    def __init__(self) -> None:
        self._written: dict[tuple[int, type], bytearray] = {}

    def take(self, number: int, item: Output | ErrorOutput) -> None:
        self._written.setdefault((number, type(item)), bytearray()).extend(item.data)

    def end(self, number: int, outcome: ExecResult | BangerError) -> None:
        """The outcomes are told when all have ended."""

    def ran(self, number: int, name: str, outcome: ExecResult | BangerError) -> Ran:
        out = self._text(number, Output)
        err = self._text(number, ErrorOutput)
        if isinstance(outcome, BangerError):
            return Ran(name, None, None, None, out, err, ErrorReply.of(outcome))
        return Ran(name, outcome.code, outcome.signal, outcome.timed_out, out, err, None)

    def _text(self, number: int, kind: type) -> str:
        return self._written.get((number, kind), bytearray()).decode(errors="replace")
