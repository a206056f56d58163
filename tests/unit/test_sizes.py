"""Sizes as people write and read them."""

from __future__ import annotations

import pytest

from banger.kernel.errors import UsageError
from banger.model.sizes import GIB, KIB, MIB, TIB, parse_size, show_size


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0),
        ("512", 512),
        ("1k", KIB),
        ("512M", 512 * MIB),
        ("8G", 8 * GIB),
        ("8 GiB", 8 * GIB),
        (" 8gb ", 8 * GIB),
        ("1T", TIB),
        ("512B", 512),
    ],
)
def test_sizes_are_read(text: str, count: int) -> None:
    assert parse_size(text) == count


BAD_SIZES = ["", "G", "-1", "1.5G", "1e3", "1P", "8G8", "8 G B", "0x10", "1\n2", "9" * 16, "x" * 99]
BAD_SIZES += ["1\u212a", "\u0661", "1 G\u0131B"]


@pytest.mark.parametrize("text", BAD_SIZES)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a size") as caught:
        parse_size(text)
    assert "512M" in caught.value.hint


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536 * MIB, "1.5 GiB"),
        (16 * TIB, "16.0 TiB"),
    ],
)
def test_sizes_are_shown_in_the_unit_that_fits(count: int, text: str) -> None:
    assert show_size(count) == text


@pytest.mark.parametrize("unit", [1, KIB, MIB, GIB, TIB])
def test_what_is_shown_can_be_read_when_whole(unit: int) -> None:
    for count in (1, 7, 512):
        assert parse_size(show_size(count * unit).replace(".0", "")) == count * unit
