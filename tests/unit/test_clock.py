"""Times as they are written and shown."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from banger.kernel.errors import UsageError
from banger.model.clock import parse_since, show_age, show_duration, show_moment

NOW = datetime(2024, 5, 1, 12, 0, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "ago_s"), [("90s", 90), ("10m", 600), ("1.5h", 5400), (" 2d ", 172800), ("0s", 0)]
)
def test_durations(text: str, ago_s: float) -> None:
    assert parse_since(text, NOW) == NOW - ago_s


def test_dates() -> None:
    assert parse_since("2024-05-01T12:00:00Z", 0) == NOW
    assert parse_since("2024-05-01T14:00+02:00", 0) == NOW
    local = datetime.fromtimestamp(NOW).astimezone()
    assert parse_since(f"{local:%Y-%m-%d %H:%M}", 0) == NOW
    midnight = local.replace(hour=0, minute=0)
    assert parse_since(f"{local:%Y-%m-%d}", 0) == midnight.timestamp()
    assert parse_since(f"{local:%H:%M:%S}", NOW) == NOW
    assert parse_since("00:01", NOW) == (midnight + timedelta(minutes=1)).timestamp()


@pytest.mark.parametrize("text", ["", "soon", "-5m", "10", "5 m", "25:00", "1e9999d", "٣m"])
def test_nonsense(text: str) -> None:
    with pytest.raises(UsageError, match="is no point in time"):
        parse_since(text, NOW)


def test_shown() -> None:
    assert show_moment(NOW + 0.0456)[-13:].endswith("00:00.045")
    assert [show_duration(ms) for ms in (0.4, 999, 1600)] == ["0 ms", "999 ms", "1.6 s"]
    ages = [show_age(seconds) for seconds in (-1, 0, 59, 60, 3599, 7200, 90000)]
    assert ages == ["0s", "0s", "59s", "1m", "59m", "2h", "1d"]
