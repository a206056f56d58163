from __future__ import annotations

import time
from typing import Any

from banger.commands.colour import Colour
from banger.commands.context import Context
from banger.commands.declare import Command, Kind, Option
from banger.model.clock import parse_since, show_moment
from banger.model.event_filter import parse_filters
from banger.model.event_text import Weight, describe
from banger.model.events import Recorded
from banger.model.requests.events import ReadEvents

SUBJECT_WIDTH = 12
WEIGHTS = {
    Weight.DETAIL: Colour.DIM,
    Weight.NEWS: Colour.PLAIN,
    Weight.TROUBLE: Colour.TROUBLE,
}


def run(context: Context, *, since: str | None, follow: bool, filters: tuple[str, ...]) -> None:
    request = ReadEvents(
        since=None if since is None else parse_since(since, time.time()),
        follow=follow,
        where=parse_filters(filters),
    )

    def take(recorded: Recorded) -> None:
        context.item(recorded.flat())
        context.line(show_event(recorded), event_colour(recorded))

    context.daemon.call(request, items=Recorded, on_item=take)


def show_event(recorded: Recorded) -> str:
    """One line: when, about what, what."""
    said = describe(recorded.event)
    return f"{show_moment(recorded.at)}  {said.subject.ljust(SUBJECT_WIDTH)}  {said.text}"


def event_colour(recorded: Recorded) -> Colour:
    return WEIGHTS[describe(recorded.event).weight]


COMMAND = Command(
    path=("events",),
    summary="Show what happened to VMs, stage by stage.",
    details="The last thousands of events are kept, also over restarts of the daemon. A filter's "
    "value may have '*' and '?'; filters of one key are alternatives, those of different keys must "
    "all fit. Keys are the fields that --json shows. With --json each event is a line of its own.",
    run=run,
    reply=dict[str, Any],
    streams=True,
    options=(
        Option(
            "since",
            ("--since",),
            "Only what is not older than this: 90s, 10m, 2h, 1d, 14:30 or a date.",
            metavar="TIME",
        ),
        Option(
            "follow",
            ("-f", "--follow"),
            "Go on with what comes; without --since only that.",
            Kind.FLAG,
        ),
        Option("filters", ("--filter",), "Only events with this.", metavar="KEY=VALUE", many=True),
    ),
    examples=(
        "banger events --since 10m",
        "banger events --follow --filter vm=testbox",
        "banger events --filter type=vm-state --filter state=crashed --json",
    ),
)
