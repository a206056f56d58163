from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import msgspec

from banger.commands.context import Context
from banger.commands.declare import VM_NAME, Command, Kind, Option
from banger.commands.events import event_colour, show_event
from banger.kernel.errors import UsageError
from banger.kernel.message import Lost
from banger.model.clock import parse_since
from banger.model.event_filter import Filter
from banger.model.events import Recorded
from banger.model.names import check_name
from banger.model.requests.events import ReadEvents
from banger.model.requests.exec import AnyOutput
from banger.model.requests.guests import ReadConsole

ALL_STAGES = "all"
LINE_LIMIT_BYTES = 64 << 10
"""A longer line is looked at in pieces: a guest that ends none must not fill our memory."""


class ConsoleText(msgspec.Struct, frozen=True):
    name: str
    console: str


class StageLog(msgspec.Struct, frozen=True):
    """With ``--stage``."""

    name: str
    events: list[dict[str, Any]]


def run(
    context: Context,
    *,
    name: str,
    follow: bool,
    raw: bool,
    since: str | None,
    grep: str | None,
    stage: str | None,
) -> None:
    check_name("VM", name)
    fits = matcher(grep)
    since_s = None if since is None else parse_since(since, time.time())
    # A document has an end.
    follow = follow and not context.json
    if stage is None:
        _console(context, ReadConsole(name, follow, since_s), fits, raw=raw)
    else:
        where = _stage_filter(name, stage)
        _stages(context, name, ReadEvents(since=since_s, follow=follow, where=where), fits)


def _console(
    context: Context, request: ReadConsole, fits: Callable[[str], bool] | None, *, raw: bool
) -> None:
    kept = bytearray()

    def write(data: bytes) -> None:
        if context.json:
            kept.extend(data)
        else:
            context.sink.out_bytes(data if raw else harmless(data))

    lines = Lines(fits, write) if fits is not None else None
    take = write if lines is None else lines.feed
    context.daemon.call(request, items=AnyOutput, on_item=lambda item: take(item.data))
    if lines is not None:
        lines.close()
    context.document(ConsoleText(request.name, kept.decode(errors="replace")))


def _stages(
    context: Context, name: str, request: ReadEvents, fits: Callable[[str], bool] | None
) -> None:
    kept: list[dict[str, Any]] = []

    def take(recorded: Recorded) -> None:
        line = show_event(recorded)
        if fits is None or isinstance(recorded.event, Lost) or fits(line):
            kept.append(recorded.flat())
            context.line(line, event_colour(recorded))

    if request.follow and request.since is None:
        # With what is kept, as the console has it.
        request = ReadEvents(since=0.0, follow=True, where=request.where)
    context.daemon.call(request, items=Recorded, on_item=take)
    context.document(StageLog(name, kept))


def _stage_filter(name: str, stage: str) -> Filter:
    where = {"vm": [name]}
    return where if stage == ALL_STAGES else where | {"stage": [stage]}


def matcher(pattern: str | None) -> Callable[[str], bool] | None:
    if pattern is None:
        return None
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"{pattern[:80]!r} is no regular expression: {error}") from None
    return lambda text: expression.search(text) is not None


class Lines:
    """Feed it bytes; it passes on the lines that fit, each as soon as it is whole."""

    def __init__(self, fits: Callable[[str], bool], write: Callable[[bytes], None]) -> None:
        self._fits = fits
        self._write = write
        self._rest = b""

    def feed(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._pass(line + b"\n")
        while len(self._rest) > LINE_LIMIT_BYTES:
            self._pass(self._rest[:LINE_LIMIT_BYTES])
            self._rest = self._rest[LINE_LIMIT_BYTES:]

    def close(self) -> None:
        """Look at what came without an end of line."""
        if self._rest:
            self._pass(self._rest)
            self._rest = b""

    def _pass(self, line: bytes) -> None:
        if self._fits(line.rstrip(b"\r\n").decode(errors="replace")):
            self._write(line)


def harmless(data: bytes) -> bytes:
    """What a guest printed, without the control characters that a terminal would obey."""
    return bytes(byte for byte in data if (byte >= 0x20 and byte != 0x7F) or byte in b"\n\t")


COMMAND = Command(
    path=("vm", "logs"),
    summary="Show a VM's console, or the log of its stages.",
    run=run,
    reply=ConsoleText | StageLog,
    arguments=(VM_NAME,),
    options=(
        Option("follow", ("-f", "--follow"), "Go on with what comes.", Kind.FLAG),
        Option(
            "since",
            ("--since",),
            "Only what is not older than this: 90s, 10m, 2h, 1d, 14:30 or a date.",
            metavar="TIME",
        ),
        Option(
            "grep", ("--grep",), "Only lines that this regular expression fits.", metavar="PATTERN"
        ),
        Option(
            "stage",
            ("--stage",),
            "The log of this stage instead of the console, or of 'all'; '*' and '?' are allowed.",
            metavar="STAGE",
        ),
        Option("raw", ("--raw",), "Print control characters as they are.", Kind.FLAG),
    ),
    examples=(
        "banger vm logs testbox --follow",
        "banger vm logs testbox --since 10m --grep 'error|fail'",
        "banger vm logs testbox --stage all",
    ),
)
