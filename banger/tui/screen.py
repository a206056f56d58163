"""The whole screen as lines, a function of the model and the terminal's size."""

from __future__ import annotations

from collections import Counter

from banger.model.sizes import short_size
from banger.model.vm import Verb, VmState
from banger.tui.detail import WEIGHT_STYLES, detail, event_line
from banger.tui.model import Mode, Model
from banger.tui.table import table
from banger.tui.text import Line, cut, fill, padded, rule, width_of

NEWS_LINES = 6
NEWS_FROM_HEIGHT = 16
"""A lower terminal is for the table alone."""
WIDTH_MIN, HEIGHT_MIN = 40, 8

HELP = (
    ("↑ ↓ j k", "move; PgUp PgDn Home End too"),
    ("Enter", "look closely at a VM; Esc goes back"),
    ("/", "filter by words in name, state, image, address, labels"),
    ("o O r", "sort by the next, the previous column; the other way round"),
    ("s", "start"),
    ("x", "stop"),
    ("p", "pause, or resume"),
    ("d", "delete"),
    ("l", "log in by ssh; its end leads back here"),
    ("e", "events on and off"),
    ("b", "start bangerd, when it does not run"),
    ("q", "quit; VMs and bangerd go on"),
)
CONSEQUENCES = {
    Verb.STOP: "it is asked to shut down",
    Verb.DELETE: "its disk is removed",
}


def screen(model: Model, width: int, height: int, *, now: float, tick: float) -> list[Line]:
    """Exactly ``height`` lines of ``width``. ``now`` is Unix time, ``tick`` a steady clock."""
    if width < WIDTH_MIN or height < HEIGHT_MIN:
        text = f"needs {WIDTH_MIN} columns, {HEIGHT_MIN} lines"
        return [fill([("", text)], width)] + [fill([], width)] * (height - 1)
    lines = [_title(model, width)]
    bottom = _bottom(model, width, tick)
    inner = height - 2
    match model.mode:
        case Mode.DETAIL:
            lines += detail(model, width, inner, now)
        case Mode.HELP:
            lines += _help(width, inner)
        case Mode.TABLE:
            news = NEWS_LINES if model.with_news and height >= NEWS_FROM_HEIGHT else 0
            lines += _body(model, width, inner - news, now)
            if news:
                lines += _news(model, width, news)
    return [*lines, bottom]


def _body(model: Model, width: int, height: int, now: float) -> list[Line]:
    lines = table(model, width, height, now)
    if not model.rows():
        said = "no VM fits the filter" if model.vms else "no VMs; 'banger vm create' makes one"
        if model.trouble and not model.vms:
            said = ""
        lines[1] = fill([("class:dim", f" {said}")], width)
    return lines


def _title(model: Model, width: int) -> Line:
    states = Counter(view.state for view in model.vms.values())
    counts = [f"{states[state]} {state}" for state in VmState if states[state]]
    used = sum(found.vmm.pss_bytes for found in model.usages.values() if found.vmm)
    left = f" banger  {len(model.vms)} VMs"
    summary = f"  {', '.join(counts)}" if counts else ""
    right = f"{short_size(used)} in use " if used else ""
    if model.trouble:
        right = f"{model.trouble} "
    room = width - width_of(right)
    style = "class:title.trouble" if model.trouble else "class:title.right"
    filtered = f"  filter: {model.filter}" if model.filter and not model.typing else ""
    parts = [("class:title.name", left), ("class:title.name", filtered), ("class:title", summary)]
    head = fill(parts, room, "class:title")
    return fill([*head, (style, right)], width)


def _news(model: Model, width: int, height: int) -> list[Line]:
    trouble = model.attention()
    remark = f"{trouble} want attention" if trouble else ""
    lines = [rule("events", width, remark)]
    lines += [event_line(recorded, width) for recorded in list(model.news)[-(height - 1) :]]
    return lines + [fill([], width)] * (height - len(lines))


def _bottom(model: Model, width: int, tick: float) -> Line:
    if model.question is not None:
        verb, name = model.question.verb, model.question.vm
        text = f" {verb} {name}? {CONSEQUENCES[verb]}   "
        room = width - len("y yes  any other key no ")
        return fill(
            [
                ("class:question", padded(cut(text, room), room)),
                ("class:question", "y yes  any other key no "),
            ],
            width,
            "class:question",
        )
    if model.typing:
        return fill(
            [("class:filter", f" filter: {model.filter}"), ("class:filter.cursor", " ")],
            width,
            "class:filter",
        )
    if model.notice is not None and tick < model.notice.until:
        style = WEIGHT_STYLES[model.notice.weight] or "class:notice"
        return fill([(style, f" {model.notice.text}")], width)
    return _keys(model, width)


def _keys(model: Model, width: int) -> Line:
    if model.trouble:
        keys = [("b", "start bangerd"), ("q", "quit")]
    elif model.mode is Mode.DETAIL:
        keys = [("s", "start"), ("x", "stop"), ("l", "ssh"), ("d", "delete"), ("↑↓", "other VM")]
        keys += [("p", "pause"), ("Esc", "back"), ("?", "help")]
    elif model.mode is Mode.HELP:
        keys = [("any key", "back")]
    else:
        keys = [("s", "start"), ("x", "stop"), ("l", "ssh"), ("d", "delete"), ("↵", "open")]
        keys += [("/", "filter"), ("o", "sort"), ("?", "help"), ("q", "quit")]
    line: Line = [("", " ")]
    for key, meaning in keys:
        line += [("class:key", key), ("class:dim", f" {meaning}  ")]
    return fill(line, width)


def _help(width: int, height: int) -> list[Line]:
    lines = [rule("keys", width), fill([], width)]
    for key, meaning in HELP:
        lines.append(fill([("class:key", f"   {padded(key, 9)}"), ("", meaning)], width))
    return (lines + [fill([], width)] * height)[:height]
