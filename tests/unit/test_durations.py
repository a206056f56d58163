"""Durations as people write them, and as they are shown."""

from __future__ import annotations

import pytest

from banger.kernel.errors import UsageError
from banger.model.durations import parse_duration, spell_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("15m", 900),
        ("1h", 3600),
        ("2d", 172800),
        ("1h30m", 5400),
        ("1d2h3m4s", 93784),
        (" 5M ", 300),
        ("0s", 0),
    ],
)
def test_parsed(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "90", "1.5h", "-1h", "m", "30m1h", "1h 30m", "1w", "٣h"])
def test_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (59.6, "1m"),
        (90, "1m30s"),
        (3600, "1h"),
        (3601, "1h"),
        (5400, "1h30m"),
        (93784, "1d2h"),
        (86460, "1d"),
    ],
)
def test_shown(seconds: float, text: str) -> None:
    assert spell_duration(seconds) == text
    assert spell_duration(parse_duration(text)) == text
