"""Sizes as people write them."""

from __future__ import annotations

import re

from banger.kernel.errors import UsageError

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30
TIB = 1 << 40

_UNITS = {"": 1, "K": KIB, "M": MIB, "G": GIB, "T": TIB}
_SIZE = r"(?ai)(\d{1,15})\s*([KMGT]?)(?:i?B)?"


def parse_size(text: str) -> int:
    """Bytes from ``512M``, ``8G``, ``1GiB`` or a plain number. Units are powers of 1024."""
    match = re.fullmatch(_SIZE, text.strip())
    if match is None:
        raise UsageError(f"{text[:40]!r} is not a size", hint="write it like 512M, 8G or 1T")
    return int(match[1]) * _UNITS[match[2].upper()]


def show_size(count: int) -> str:
    """The size with one digit after the point, in the unit that fits: ``1.5 GiB``."""
    for unit, factor in (("TiB", TIB), ("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} B"


def short_size(count: float) -> str:
    """The same in at most five characters, for columns: ``1.5G``, ``213M``, ``0B``."""
    for unit, factor in (("T", TIB), ("G", GIB), ("M", MIB), ("K", KIB)):
        if count >= factor:
            value = count / factor
            return f"{value:.1f}{unit}" if value < 9.95 else f"{value:.0f}{unit}"
    return f"{count:.0f}B"
