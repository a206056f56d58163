"""Pages of help, as wide as a terminal is at least."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

WIDTH = 78
INDENT = 2
TERM_MAX = 30
"""A longer term stands on a line of its own."""
GAP = 2


class Page:
    """Parts, one after the other with an empty line between them."""

    def __init__(self) -> None:
        self._parts: list[str] = []

    def text(self) -> str:
        return "\n\n".join(self._parts)

    def usage(self, name: str, words: str) -> None:
        head = f"Usage: {name} "
        self._parts.append(textwrap.fill(head + words, WIDTH, subsequent_indent=" " * len(head)))

    def paragraph(self, text: str, *, indent: int = INDENT) -> None:
        if text:
            space = " " * indent
            part = textwrap.fill(text, WIDTH, initial_indent=space, subsequent_indent=space)
            self._parts.append(part)

    def lines(self, title: str, lines: Iterable[str]) -> None:
        """As they are, however wide."""
        lines = [" " * 2 * INDENT + line for line in lines]
        if lines:
            self._parts.append("\n".join([f"{' ' * INDENT}{title}:", *lines]))

    def terms(self, title: str, rows: Iterable[tuple[str, str]]) -> None:
        """What each term means, beside it."""
        rows = list(rows)
        if not rows:
            return
        column = INDENT + min(TERM_MAX, max(len(term) for term, _ in rows)) + GAP
        lines = [f"{title}:"]
        for term, meaning in rows:
            first, *others = textwrap.wrap(meaning, WIDTH - column) or [""]
            head = f"{' ' * INDENT}{term}"
            if len(head) + GAP > column:
                lines += [head, " " * column + first]
            else:
                lines.append((head.ljust(column) + first).rstrip())
            lines += [" " * column + line for line in others]
        self._parts.append("\n".join(lines))
