"""Archives that the client writes: whole or not at all."""

from __future__ import annotations

import gzip
import os
import subprocess
from pathlib import Path

import pytest

from banger.client import archive
from banger.client.archive import archive_file
from banger.kernel.errors import BangerError, Conflict, HostNotReady, UsageError


def write(path: Path, *, replace: bool = False) -> None:
    with archive_file(path, replace=replace) as write:
        write(b"first ")
        write(b"second")


def test_each_ending(tmp_path: Path) -> None:
    for name in ("a.tar", "a.tar.gz", "a.tar.zst"):
        write(tmp_path / name)
    assert (tmp_path / "a.tar").read_bytes() == b"first second"
    assert gzip.decompress((tmp_path / "a.tar.gz").read_bytes()) == b"first second"
    argv = ["zstd", "-dcq", str(tmp_path / "a.tar.zst")]
    assert subprocess.run(argv, capture_output=True, check=True).stdout == b"first second"
    mask = os.umask(0o077)
    os.umask(mask)
    assert (tmp_path / "a.tar").stat().st_mode & 0o777 == 0o666 & ~mask
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("name", ["a", "a.zip", "a.tgz", "a.tar.xz"])
def test_other_endings(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="does not tell"):
        write(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
def test_a_body_that_fails_leaves_nothing(tmp_path: Path, name: str) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        archive_file(tmp_path / name, replace=False) as write,
    ):
        write(b"half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_text("old")
    with pytest.raises(Conflict, match="exists already"):
        write(path)
    assert path.read_text() == "old"
    write(path, replace=True)
    assert path.read_bytes() == b"first second"


def test_a_file_that_comes_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with pytest.raises(Conflict), archive_file(path, replace=False) as write:
        write(b"ours")
        path.write_text("theirs")
    assert path.read_text() == "theirs"
    assert list(tmp_path.iterdir()) == [path]


def test_a_compressor_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    argv = ["sh", "-c", "echo no space >&2; exit 1"]
    monkeypatch.setitem(archive.COMPRESSORS, ".tar.gz", argv)
    with (
        pytest.raises(BangerError, match="sh failed: no space"),
        archive_file(tmp_path / "a.tar.gz", replace=False) as write,
    ):
        for _ in range(100):
            write(bytes(1 << 16))
    assert list(tmp_path.iterdir()) == []


def test_a_compressor_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(archive.COMPRESSORS, ".tar.zst", ["no-such-program"])
    with pytest.raises(HostNotReady, match="'no-such-program' is not installed"):
        write(tmp_path / "a.tar.zst")
