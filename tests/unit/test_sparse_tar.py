"""Archives without the holes of files, as other programs read them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from banger.host.sparse_tar import Member, archive, size_of


def write_sparse(path: Path, parts: dict[int, bytes], size: int) -> Path:
    with path.open("wb") as file:
        for at, data in parts.items():
            file.seek(at)
            file.write(data)
        file.truncate(size)
    return path


@pytest.mark.parametrize(
    ("parts", "size"),
    [
        ({}, 0),
        ({0: b"x" * 700}, 700),
        ({0: b"x" * 4096}, 4096),
        ({}, 1 << 20),
        ({1 << 20: b"a" * 5000, 64 << 20: b"b" * 600_000}, 1 << 30),
        ({0: b"a" * 4096, 1 << 20: b"b" * 4096}, (1 << 20) + 4096),
        ({(1 << 20): b"end"}, (1 << 20) + 3),
    ],
)
def test_gnu_tar_reads_it(tmp_path: Path, parts: dict[int, bytes], size: int) -> None:
    source = write_sparse(tmp_path / "source", parts, size)
    file = os.open(source, os.O_RDONLY)
    try:
        members = [Member("facts", b"{}", 0), Member("disk", file, 1), Member("last", b"z", 2)]
        pieces = list(archive(members))
        stored = size_of(members)
    finally:
        os.close(file)
    assert all(pieces), "an empty piece"
    written = b"".join(pieces)
    assert stored <= len(written) < stored + 20_000
    (tmp_path / "out").mkdir()
    subprocess.run(["tar", "-x", "-C", str(tmp_path / "out")], input=written, check=True)
    assert (tmp_path / "out/facts").read_bytes() == b"{}"
    assert (tmp_path / "out/last").read_bytes() == b"z"
    copy = tmp_path / "out/disk"
    assert copy.stat().st_size == size
    assert copy.stat().st_blocks <= source.stat().st_blocks + 16
    subprocess.run(["cmp", str(source), str(copy)], check=True)
