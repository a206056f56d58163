"""Files that are none, or not meant to be run."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from banger.batch.load import load
from banger.batch.problems import Problems, show
from banger.batch.source import LINE_MAX, SOURCE_BYTES_MAX
from banger.kernel.errors import BangerError


def told(path: Path) -> list[str]:
    begun = time.monotonic()
    problems = Problems()
    try:
        script = load(str(path), problems)
        lines = show(problems, script.lines)
    except BangerError as error:
        lines = [str(error)]
    assert time.monotonic() - begun < 3
    assert all(len(line) < 1000 for line in lines)
    return [line.replace(str(path.parent), "") for line in lines]


def written(directory: Path, data: bytes) -> Path:
    path = directory / "t.bgr"
    path.write_bytes(data)
    return path


def test_a_gigabyte_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "t.bgr"
    with path.open("wb") as file:
        file.truncate(1 << 30)
    assert told(path) == ["/t.bgr is larger than 1.0 MiB"]


def test_a_long_line(tmp_path: Path) -> None:
    (first, *shown) = told(written(tmp_path, b"vm list\nvm " + b"x" * LINE_MAX))
    assert first == f"/t.bgr:2:{LINE_MAX + 1}: a line has more than {LINE_MAX} characters"
    assert len(shown) == 2


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x7fELF\x02\x01", "1:1: there is a control character, U+007F"),
        (b"vm list\nvm \xff", "2:4: the byte 0xff is not UTF-8"),
        (b"vm \0", "1:4: there is a control character, U+0000"),
        (b"vm \x1b[31m", "1:4: there is a control character, U+001B"),
        ("vm \x85".encode(), "1:4: there is a control character, U+0085"),
    ],
)
def test_no_text(tmp_path: Path, data: bytes, message: str) -> None:
    lines = told(written(tmp_path, data))
    assert lines[0] == f"/t.bgr:{message}"


def test_what_is_no_regular_file(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    hint = " is not a regular file ('banger run -' reads standard input)"
    assert told(fifo) == [f"/fifo{hint}"]
    assert told(Path("/dev/zero")) == [f"/dev/zero{hint}".replace("/dev", "", 1)]
    assert told(tmp_path) == [f"/{tmp_path.name}{hint}"]
    assert told(tmp_path / "none") == ["there is no file /none"]


def test_includes_are_no_way_around(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    lines = told(written(tmp_path, b"include fifo\ninclude /dev/zero\n"))
    assert [line for line in lines if "regular" in line] == [
        "/t.bgr:1:9: /fifo is not a regular file ('banger run -' reads standard input)",
        "/t.bgr:2:9: /dev/zero is not a regular file ('banger run -' reads standard input)",
    ]


def test_as_many_problems_as_lines(tmp_path: Path) -> None:
    lines = told(written(tmp_path, b"end\n" * (SOURCE_BYTES_MAX // 4)))
    assert len(lines) < 200


@pytest.mark.parametrize("data", [b"", b"\xef\xbb\xbfvm list", b"vm list\r\nvm list\r\n", b"\n\n"])
def test_harmless_oddities(tmp_path: Path, data: bytes) -> None:
    assert told(written(tmp_path, data)) == []


def test_random_bytes(tmp_path: Path) -> None:
    for _ in range(50):
        told(written(tmp_path, os.urandom(3000)))
