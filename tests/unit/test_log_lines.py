"""``vm logs --grep``: whole lines, in whatever pieces they come."""

from __future__ import annotations

import pytest

from banger.commands.vm_logs import LINE_LIMIT_BYTES, Lines, matcher
from banger.kernel.errors import UsageError

TEXT = b"one error\r\ntwo\nthree \xff error\nrest error"


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_lines(size: int) -> None:
    fits = matcher("err.r$")
    assert fits is not None
    found: list[bytes] = []
    lines = Lines(lambda text: fits(text), found.append)
    for at in range(0, len(TEXT), size):
        lines.feed(TEXT[at : at + size])
    assert found == [b"one error\r\n", b"three \xff error\n"]
    lines.close()
    assert found[2:] == [b"rest error"]
    lines.close()
    assert len(found) == 3


def test_an_endless_line_is_looked_at_in_pieces() -> None:
    found: list[bytes] = []
    lines = Lines(lambda text: True, found.append)
    for _ in range(10):
        lines.feed(b"x" * LINE_LIMIT_BYTES)
    assert sum(map(len, found)) >= 8 * LINE_LIMIT_BYTES


def test_nonsense_is_refused() -> None:
    with pytest.raises(UsageError, match="no regular expression"):
        matcher("(")
    assert matcher(None) is None
