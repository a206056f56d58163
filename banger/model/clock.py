"""Times as they are shown."""

from __future__ import annotations

from datetime import UTC, datetime


def rfc3339(unix_s: float) -> str:
    """UTC to the second: ``2024-05-01T12:00:00+00:00``."""
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="seconds")
