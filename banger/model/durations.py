"""Durations as people write them."""

from __future__ import annotations

import re

from banger.kernel.errors import UsageError

_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_duration = re.compile(r"(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s)?", re.ASCII)


def parse_duration(text: str) -> int:
    """Seconds from ``90s``, ``15m``, ``1h``, ``2d`` or several of them, like ``1h30m``."""
    match = _duration.fullmatch(text.strip().lower())
    if match is None or not any(match.groups()):
        raise UsageError(
            f"{text[:40]!r} is not a duration", hint="write it like 90s, 15m, 1h30m or 2d"
        )
    counts = (int(count or 0) for count in match.groups())
    return sum(count * unit for count, unit in zip(counts, _UNITS.values(), strict=True))


def spell_duration(seconds: float) -> str:
    """In the form `parse_duration` reads, with the two largest units: ``1h30m``."""
    rest = round(seconds)
    parts: list[str] = []
    for letter, unit in _UNITS.items():
        count, rest = divmod(rest, unit)
        if count or parts:
            parts.append(f"{count}{letter}" if count else "")
        if len(parts) == 2:
            break
    return "".join(parts) or "0s"
