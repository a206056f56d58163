"""Colours: the terminal's own sixteen, so they fit its theme; none with NO_COLOR."""

from __future__ import annotations

import os

from prompt_toolkit.styles import Style

_RULES = {
    "title": "bg:ansiblue ansiwhite",
    "title.name": "bg:ansiblue ansiwhite bold",
    "title.right": "bg:ansiblue ansiwhite",
    "title.trouble": "bg:ansired ansiwhite bold",
    "head": "ansibrightblack bold",
    "head.sorted": "ansicyan bold",
    "chosen": "reverse",
    "name": "bold",
    "dim": "ansibrightblack",
    "label": "ansibrightblack",
    "rule": "ansibrightblack",
    "rule.title": "ansicyan bold",
    "time": "ansibrightblack",
    "trouble": "ansired",
    "notice": "ansigreen",
    "question": "bg:ansiyellow ansiblack bold",
    "filter": "ansiyellow",
    "filter.cursor": "reverse",
    "key": "ansicyan bold",
    "console": "",
    "curve": "ansigreen",
    "bar.full": "ansigreen",
    "bar.over": "ansired",
    "bar.empty": "ansibrightblack",
    "state.running": "ansigreen",
    "state.paused": "ansiblue",
    "state.stopped": "ansibrightblack",
    "state.suspended": "ansiblue",
    "state.crashed": "ansired bold",
    "state.failed": "ansired bold",
    "state.creating": "ansiyellow",
    "state.starting": "ansiyellow",
    "state.stopping": "ansiyellow",
    "state.deleting": "ansiyellow",
}
_PLAIN = {
    "title": "reverse",
    "title.name": "reverse bold",
    "title.right": "reverse",
    "title.trouble": "reverse bold",
    "chosen": "reverse",
    "name": "bold",
    "question": "reverse bold",
    "filter.cursor": "reverse",
    "key": "bold",
}


def style() -> Style:
    return Style.from_dict(_PLAIN if os.environ.get("NO_COLOR") else _RULES)
