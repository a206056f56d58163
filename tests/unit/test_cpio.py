from __future__ import annotations

import gzip
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from banger.host.cpio import Entry, archive, assemble_initramfs
from banger.kernel.errors import HostNotReady, NotFound, UsageError

DIR, REG, LNK, CHR = stat.S_IFDIR, stat.S_IFREG, stat.S_IFLNK, stat.S_IFCHR

TREE = [
    Entry("dev", DIR | 0o755),
    Entry("dev/console", CHR | 0o600, device=(5, 1)),
    Entry("init", REG | 0o755, b"#!/bin/sh\n"),
    Entry("etc", DIR | 0o755),
    Entry("etc/empty", REG | 0o644),
    Entry("etc/key", REG | 0o600, b"\0\xff" * 2501, uid=1000, gid=1001),
    Entry("etc/link", LNK | 0o777, b"../init"),
    Entry("etc/\N{GREEK SMALL LETTER PI}", REG | 0o644, b"3"),
]


def read_back(data: bytes) -> list[Entry]:
    """The entries of concatenated archives, read as Linux's init/initramfs.c does."""
    entries, at = [], 0
    while at < len(data):
        if data[at] == 0:
            at += 1
            continue
        assert at % 4 == 0
        assert data[at : at + 6] == b"070701"
        fields = [int(data[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        _, mode, uid, gid, _, mtime, size, _, _, major, minor, name_size, _ = fields
        assert mtime == 0
        name = data[at + 110 : at + 110 + name_size]
        assert name[-1] == 0
        at += 110 + name_size + -(110 + name_size) % 4
        content = data[at : at + size]
        at += size + -size % 4
        if name != b"TRAILER!!!\0":
            entries.append(Entry(name[:-1].decode(), mode, content, uid, gid, (major, minor)))
    return entries


def test_reads_back_the_same() -> None:
    assert read_back(archive(TREE)) == TREE


def test_padded_and_reproducible() -> None:
    data = archive(iter(TREE))
    assert len(data) % 512 == 0
    assert data == archive(TREE)
    assert len(archive([])) == 512


def test_real_cpio_unpacks_it(tmp_path: Path) -> None:
    if shutil.which("cpio") is None:
        pytest.fail("the cpio program is missing: apt install cpio")
    entries = [entry for entry in TREE if entry.device == (0, 0) or os.geteuid() == 0]
    data = archive(entries)
    names = subprocess.run(["cpio", "-it", "--quiet"], input=data, check=True, capture_output=True)
    assert names.stdout.decode().split() == [entry.path for entry in entries]

    subprocess.run(["cpio", "-i", "--quiet"], input=data, check=True, cwd=tmp_path)
    for entry in entries:
        found = (tmp_path / entry.path).lstat()
        assert found.st_mode == entry.mode
        if stat.S_ISREG(entry.mode):
            assert (tmp_path / entry.path).read_bytes() == entry.data
        if os.geteuid() == 0:
            assert (found.st_uid, found.st_gid) == (entry.uid, entry.gid)
        if stat.S_ISCHR(entry.mode):
            assert (os.major(found.st_rdev), os.minor(found.st_rdev)) == entry.device
    assert (tmp_path / "etc/link").readlink() == Path("../init")


@pytest.mark.parametrize(
    "path", ["", "/", "/etc", "..", "../x", "a/../b", "a/..", "./a", "a//b", "a/", "a\0b"]
)
def test_paths_that_lead_elsewhere(path: str) -> None:
    with pytest.raises(UsageError, match="not plain and relative"):
        archive([Entry(path, REG | 0o644)])


@pytest.mark.parametrize(
    ("entries", "complaint"),
    [
        ([Entry("TRAILER!!!", REG)], "end"),
        ([Entry("a" * 4096, REG)], "4095"),
        ([Entry("a", REG), Entry("a", REG)], "twice"),
        ([Entry("a/b", REG), Entry("a", DIR)], "before its directory"),
        ([Entry("a", 0o644)], "mode"),
        ([Entry("a", stat.S_IFSOCK | 0o644)], "mode"),
        ([Entry("a", 0o1000000 | REG)], "mode"),
        ([Entry("a", DIR, b"x")], "can't have content"),
        ([Entry("a", REG, device=(5, 1))], "not a device"),
        ([Entry("a", LNK)], "target of 0 bytes"),
        ([Entry("a", REG, uid=-1)], "32 bits"),
        ([Entry("a", REG, gid=2**32)], "32 bits"),
    ],
)
def test_entries_refused(entries: list[Entry], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        archive(entries)


def test_assembled_parts_are_aligned_whole_and_private(tmp_path: Path) -> None:
    base, out = tmp_path / "base.img", tmp_path / "out.img"
    compressed = gzip.compress(archive(TREE)) + b"x"
    compressed += b"x" * (1 - len(compressed) % 4)
    base.write_bytes(compressed)
    extra = archive([Entry("agent.conf", REG | 0o600, b"name=a")])

    assemble_initramfs(out, [base, extra[:-1], extra])

    data = out.read_bytes()
    aligned = -(-len(compressed) // 4) * 4
    assert data[: len(compressed)] == compressed
    assert read_back(data[aligned:]) == [Entry("agent.conf", REG | 0o600, b"name=a")] * 2
    assert out.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base.img", "out.img"]


def test_replaces_at_once_and_never_in_place(tmp_path: Path) -> None:
    out = tmp_path / "out.img"
    assemble_initramfs(out, [b"old!"])
    with out.open("rb") as reader:
        assemble_initramfs(out, [b"new!"])
        assert reader.read() == b"old!"
    assert out.read_bytes() == b"new!"


def test_part_of_many_megabytes(tmp_path: Path) -> None:
    base, out = tmp_path / "base.img", tmp_path / "out.img"
    base.write_bytes(os.urandom(5 * 2**20 + 3))
    assemble_initramfs(out, [base, b""])
    assert out.read_bytes() == base.read_bytes() + b"\0"


def test_failure_keeps_the_old_and_leaves_no_partial_file(tmp_path: Path) -> None:
    out = tmp_path / "out.img"
    assemble_initramfs(out, [b"old!"])
    with pytest.raises(NotFound, match="no initramfs part"):
        assemble_initramfs(out, [b"new!", tmp_path / "missing"])
    with pytest.raises(UsageError, match="not a regular file"):
        assemble_initramfs(out, [b"new!", tmp_path])
    assert out.read_bytes() == b"old!"
    assert list(tmp_path.iterdir()) == [out]


def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(HostNotReady, match=r"out\.img: No space left on device"):
        assemble_initramfs(tmp_path / "out.img", [b"data"])
    assert list(tmp_path.iterdir()) == []
