from __future__ import annotations

import json
import os
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from banger.host import qcow2
from banger.kernel.errors import (
    CommandFailed,
    Conflict,
    CorruptRecord,
    HostNotReady,
    NotFound,
    UsageError,
)

KIB, MIB, GIB, TIB = 2**10, 2**20, 2**30, 2**40


def run(*argv: str | Path) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def info(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run("qemu-img", "info", "--output=json", path))
    return found


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "base.raw"
    path.write_bytes(b"\xa5" * MIB)
    return path


@pytest.mark.parametrize("size", [512, MIB, 8 * GIB, 4 * TIB, 4 * TIB + 512, 16 * TIB])
def test_qemu_finds_it_sound_at_any_size(tmp_path: Path, base: Path, size: int) -> None:
    disk = tmp_path / "disk.qcow2"
    qcow2.create_overlay(disk, backing=str(base), virtual_size=size)

    run("qemu-img", "check", "-q", disk)
    found = info(disk)
    assert found["virtual-size"] == size
    assert found["backing-filename"] == str(base)
    assert found["backing-filename-format"] == "raw"
    assert found["cluster-size"] == 64 * KIB
    assert disk.stat().st_mode & 0o777 == 0o600
    assert disk.stat().st_size <= 512 * KIB
    assert disk.stat().st_blocks * 512 <= 16 * KIB


def test_reads_the_backing_file_then_zeros_and_keeps_writes(tmp_path: Path, base: Path) -> None:
    disk = tmp_path / "disk.qcow2"
    qcow2.create_overlay(disk, backing=base.name, virtual_size=8 * GIB)
    run(
        "qemu-io", "-f", "qcow2",
        "-c", "read -P 0xa5 0 1M",
        "-c", "read -P 0 1M 4M",
        "-c", "write -P 0x3c 64k 64k",
        "-c", "write -P 0x3c 7G 64k",
        "-c", "read -P 0xa5 0 64k",
        "-c", "read -P 0x3c 64k 64k",
        disk,
    )  # fmt: skip
    run("qemu-img", "check", "-q", disk)
    assert base.read_bytes() == b"\xa5" * MIB


def test_backing_named_only_when_opened(tmp_path: Path, base: Path) -> None:
    disk = tmp_path / "disk.qcow2"
    qcow2.create_overlay(disk, backing=None, virtual_size=2 * MIB)
    assert "backing-filename" not in info(disk)
    with_backing = (
        f"driver=qcow2,file.driver=file,file.filename={disk},"
        f"backing.driver=raw,backing.file.driver=file,backing.file.filename={base}"
    )
    pattern = "read -P 0xa5 0 1M"
    assert "fail" not in run("qemu-io", "--image-opts", "-c", pattern, with_backing)
    without = subprocess.run(
        ["qemu-io", "-f", "qcow2", "-c", pattern, disk], capture_output=True, text=True
    )
    assert "verification failed" in without.stdout + without.stderr


def test_overlay_of_an_overlay(tmp_path: Path, base: Path) -> None:
    first, second = tmp_path / "first.qcow2", tmp_path / "second.qcow2"
    qcow2.create_overlay(first, backing=str(base), virtual_size=MIB)
    qcow2.create_overlay(second, backing=str(first), backing_format="qcow2", virtual_size=2 * MIB)
    run("qemu-img", "convert", "-f", "qcow2", "-O", "raw", second, tmp_path / "out.raw")
    assert (tmp_path / "out.raw").read_bytes() == b"\xa5" * MIB + bytes(MIB)
    assert qcow2.read_header(second).backing_format == "qcow2"


def test_header_reads_back(tmp_path: Path) -> None:
    disk = tmp_path / "disk.qcow2"
    qcow2.create_overlay(disk, backing="/images/a b:c/root.raw", virtual_size=5 * GIB)
    assert qcow2.read_header(disk) == qcow2.Qcow2Header(
        version=3,
        virtual_size=5 * GIB,
        cluster_bytes=64 * KIB,
        backing="/images/a b:c/root.raw",
        backing_format="raw",
        external_data=False,
        encrypted=False,
        snapshots=0,
    )


@pytest.mark.parametrize(
    "options", ["compat=0.10", "compat=1.1", "cluster_size=512", "cluster_size=2M"]
)
def test_reads_what_qemu_img_writes(tmp_path: Path, base: Path, options: str) -> None:
    disk = tmp_path / "disk.qcow2"
    run(
        "qemu-img", "create", "-q", "-f", "qcow2", "-o", options, "-b", base, "-F", "raw",
        disk, "1G",
    )  # fmt: skip
    header = qcow2.read_header(disk)
    assert (header.virtual_size, header.backing, header.backing_format) == (GIB, str(base), "raw")


def test_header_tells_of_data_elsewhere(tmp_path: Path) -> None:
    disk = tmp_path / "disk.qcow2"
    options = f"data_file={tmp_path / 'data.raw'}"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", options, disk, "1M")
    assert qcow2.read_header(disk).external_data


def test_an_existing_disk_is_not_touched(tmp_path: Path) -> None:
    disk = tmp_path / "disk.qcow2"
    disk.write_text("precious")
    with pytest.raises(Conflict, match="already exists"):
        qcow2.create_overlay(disk, backing=None, virtual_size=MIB)
    assert disk.read_text() == "precious"


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    disk = tmp_path / "disk.qcow2"
    disk.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Conflict):
        qcow2.create_overlay(disk, backing=None, virtual_size=MIB)
    assert not (tmp_path / "elsewhere").exists()


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(HostNotReady, match=r"disk\.qcow2: No space left on device"):
        qcow2.create_overlay(tmp_path / "disk.qcow2", backing=None, virtual_size=MIB)
    assert list(tmp_path.iterdir()) == []


def test_missing_directory(tmp_path: Path) -> None:
    with pytest.raises(HostNotReady, match="No such file or directory"):
        qcow2.create_overlay(tmp_path / "no" / "disk.qcow2", backing=None, virtual_size=MIB)


@pytest.mark.parametrize("size", [0, -512, 511, 16 * TIB + 512])
def test_impossible_sizes(tmp_path: Path, size: int) -> None:
    with pytest.raises(UsageError, match=str(size)):
        qcow2.create_overlay(tmp_path / "disk.qcow2", backing=None, virtual_size=size)
    assert list(tmp_path.iterdir()) == []


def test_backing_name_too_long(tmp_path: Path) -> None:
    qcow2.create_overlay(tmp_path / "fits", backing="a" * 1023, virtual_size=MIB)
    assert qcow2.read_header(tmp_path / "fits").backing == "a" * 1023
    with pytest.raises(UsageError, match="1024 bytes long"):
        qcow2.create_overlay(tmp_path / "not", backing="a" * 1024, virtual_size=MIB)


def corrupted(path: Path, offset: int, form: str, *values: int | bytes) -> Path:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(struct.pack(form, *values))
    return path


@pytest.mark.parametrize(
    ("offset", "form", "value", "complaint"),
    [
        (0, ">4s", b"QFI\0", "no qcow2 magic"),
        (4, ">I", 4, "version 4"),
        (8, ">Q", 2**40, "backing file name"),
        (8, ">Q", 8, "in the header"),
        (16, ">I", 2**20, "backing file name"),
        (20, ">I", 63, "clusters of 2\\^63"),
        (24, ">Q", 2**60, "virtual size"),
        (24, ">Q", 0, "virtual size"),
        (24, ">Q", 1001, "virtual size"),
        (36, ">I", 1, "L1 table of 1 entries"),
        (36, ">I", 2**32 - 1, "L1 table"),
        (40, ">Q", 2**63, "L1 table"),
        (40, ">Q", 12, "L1 table"),
        (48, ">Q", 2**62, "refcount table"),
        (100, ">I", 2**31, "header of"),
        (100, ">I", 8, "header of"),
        (108, ">I", 2**31, "header extension"),
    ],
)
def test_hostile_headers(
    tmp_path: Path, offset: int, form: str, value: int | bytes, complaint: str
) -> None:
    disk = tmp_path / "disk.qcow2"
    qcow2.create_overlay(disk, backing="/base", virtual_size=8 * GIB)
    with pytest.raises(CorruptRecord, match=complaint):
        qcow2.read_header(corrupted(disk, offset, form, value))


@pytest.mark.parametrize("length", [0, 3, 4, 71, 72, 103, 104, 4096])
def test_truncated_headers(tmp_path: Path, length: int) -> None:
    disk = tmp_path / "disk.qcow2"
    qcow2.create_overlay(disk, backing="/base", virtual_size=8 * GIB)
    os.truncate(disk, length)
    with pytest.raises(CorruptRecord):
        qcow2.read_header(disk)


def test_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        qcow2.read_header(tmp_path / "none")
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path):
        with pytest.raises(CorruptRecord, match="not a regular file"):
            qcow2.read_header(path)


def test_grow_keeps_data_and_gives_zeros(tmp_path: Path, base: Path) -> None:
    disk = tmp_path / "with:colon.qcow2"
    qcow2.create_overlay(disk, backing=str(base), virtual_size=MIB)
    qcow2.grow(disk, 5 * TIB)
    qcow2.grow(disk, 5 * TIB)
    assert qcow2.read_header(disk).virtual_size == 5 * TIB
    run("qemu-img", "check", "-q", f"file:{disk}")
    run(
        "qemu-io", "-f", "qcow2", "-c", "read -P 0xa5 0 1M", "-c", "read -P 0 4T 1M",
        f"file:{disk}",
    )  # fmt: skip


def test_no_shrinking(tmp_path: Path) -> None:
    disk = tmp_path / "disk.qcow2"
    qcow2.create_overlay(disk, backing=None, virtual_size=2 * MIB)
    with pytest.raises(UsageError, match="can't shrink"):
        qcow2.grow(disk, MIB)
    with pytest.raises(UsageError):
        qcow2.grow(disk, 2 * MIB + 1)
    assert qcow2.read_header(disk).virtual_size == 2 * MIB


def test_grow_needs_nothing_of_what_lies_below(tmp_path: Path) -> None:
    disk = tmp_path / "a:disk.qcow2"
    qcow2.create_overlay(disk, backing=str(tmp_path / "gone.ext4"), virtual_size=MIB)
    qcow2.grow(disk, 2 * MIB)
    header = qcow2.read_header(disk)
    assert (header.virtual_size, header.backing) == (2 * MIB, str(tmp_path / "gone.ext4"))


def test_a_disk_in_use_does_not_grow(tmp_path: Path) -> None:
    disk = tmp_path / "disk.qcow2"
    qcow2.create_overlay(disk, backing=None, virtual_size=MIB)
    with subprocess.Popen(
        ["qemu-io", "-f", "qcow2", disk], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as user:
        assert user.stdin is not None
        assert user.stdout is not None
        user.stdin.write(b"length\n")
        user.stdin.flush()
        user.stdout.readline()
        with pytest.raises(CommandFailed, match="another process using the image"):
            qcow2.grow(disk, 2 * MIB)
        user.stdin.close()
        user.wait()
    qcow2.grow(disk, 2 * MIB)


def test_without_qemu_img(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = tmp_path / "disk.qcow2"
    qcow2.create_overlay(disk, backing=None, virtual_size=MIB)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HostNotReady, match="qemu-img is not installed"):
        qcow2.grow(disk, 2 * MIB)
