"""Colours of results, where they end up on a terminal that wants them."""

from __future__ import annotations

from enum import StrEnum


class Colour(StrEnum):
    """Numbers of SGR sequences (ECMA-48), of the terminal's own sixteen colours."""

    GOOD = "32"
    BUSY = "33"
    TROUBLE = "31"
    DIM = "2"
    PLAIN = "0"


def painted(text: str, colour: Colour) -> str:
    return text if colour is Colour.PLAIN else f"\x1b[{colour}m{text}\x1b[0m"
