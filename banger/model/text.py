"""Text from strangers, made safe to show."""

from __future__ import annotations

TEXT_LIMIT = 500
"""Characters of a guest's text that find their way into a message."""


def printable(text: str, *, limit: int = TEXT_LIMIT) -> str:
    """The text without anything a terminal would obey, on one line."""
    return "".join(c if c.isprintable() else "?" for c in text[:limit])
