"""Lines of styled text that are exactly as wide as they should be."""

from __future__ import annotations

from collections.abc import Sequence

from prompt_toolkit.utils import get_cwidth

Line = list[tuple[str, str]]
"""Pieces of text, each with its style."""

BLOCKS = " ▁▂▃▄▅▆▇█"
CUT = "…"


def width_of(text: str) -> int:
    return get_cwidth(text)


def cut(text: str, width: int) -> str:
    """The text, or its beginning with a sign that something was left out."""
    if get_cwidth(text) <= width:
        return text
    kept, used = "", 0
    for character in text:
        used += get_cwidth(character)
        if used > width - 1:
            break
        kept += character
    return kept + CUT if width > 0 else ""


def padded(text: str, width: int, *, right: bool = False) -> str:
    """Cut or filled to this width; ``right``: it stands at the right end."""
    text = cut(text, width)
    space = " " * (width - get_cwidth(text))
    return space + text if right else text + space


def fill(line: Line, width: int, style: str = "") -> Line:
    """The line, cut or filled with blanks to this width."""
    found: Line = []
    left = width
    for piece_style, text in line:
        if left <= 0:
            break
        piece = cut(text, left)
        found.append((piece_style, piece))
        left -= get_cwidth(piece)
    if left > 0:
        found.append((style, " " * left))
    return found


def rule(title: str, width: int, right: str = "") -> Line:
    """A line across, with a title near its beginning and perhaps a remark near its end."""
    head = f"─ {title} " if title else ""
    tail = f" {right} ─" if right else ""
    dashes = "─" * max(0, width - get_cwidth(head) - get_cwidth(tail))
    return fill([("class:rule.title", head), ("class:rule", dashes), ("class:rule", tail)], width)


def bar(part: float, width: int) -> Line:
    """How full something is, from 0 to 1."""
    full = round(max(0.0, min(part, 1.0)) * width)
    style = "class:bar.full" if part < 0.9 else "class:bar.over"
    return [(style, "█" * full), ("class:bar.empty", "░" * (width - full))]


def curve(values: Sequence[float], top: float, width: int) -> str:
    """The last values as little columns, ``top`` being the highest."""
    steps = len(BLOCKS) - 1
    shown = [BLOCKS[max(0, min(round(value / top * steps), steps))] for value in values[-width:]]
    return "".join(shown).rjust(width)
