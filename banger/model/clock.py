"""Times and durations as they are shown and written."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from banger.kernel.errors import UsageError

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_AGO = r"(?a)(\d{1,9}(?:\.\d{1,6})?)([smhd])"
_TIME_OF_DAY = r"(?a)(\d{1,2}):(\d{2})(?::(\d{2}))?"


def rfc3339(unix_s: float) -> str:
    """UTC to the second: ``2024-05-01T12:00:00+00:00``."""
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="seconds")


def parse_since(text: str, now: float) -> float:
    """A point in time, in Unix seconds: ``90s``, ``10m``, ``2h``, ``1d`` ago; a time of today,
    ``14:30``; or a date, with a time if need be, as in RFC 3339. Without zone it is local.
    """
    text = text.strip()
    if ago := re.fullmatch(_AGO, text):
        return now - float(ago[1]) * _SECONDS[ago[2]]
    try:
        if day := re.fullmatch(_TIME_OF_DAY, text):
            hour, minute, second = (int(part or 0) for part in day.groups())
            today = datetime.fromtimestamp(now).astimezone()
            return today.replace(hour=hour, minute=minute, second=second, microsecond=0).timestamp()
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        raise UsageError(
            f"{text[:40]!r} is no point in time",
            hint="write it like 10m, 2h, 1d, 14:30 or 2024-05-01T12:00",
        ) from None


def show_moment(unix_s: float) -> str:
    """Local date and time to the millisecond: ``05-01 12:00:00.123``."""
    moment = datetime.fromtimestamp(unix_s).astimezone()
    return f"{moment:%m-%d %H:%M:%S}.{moment.microsecond // 1000:03}"


def show_duration(ms: float) -> str:
    """``12 ms``, ``1.6 s``."""
    return f"{ms / 1000:.1f} s" if ms >= 1000 else f"{ms:.0f} ms"


def show_age(seconds: float) -> str:
    """In the largest unit that fits: ``45s``, ``12m``, ``3h``, ``9d``."""
    for unit, factor in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= factor:
            return f"{int(seconds // factor)}{unit}"
    return f"{max(0, int(seconds))}s"
