"""banger on a file system that shares blocks between copies, and on one that gets full."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.vm.conftest import NewInstance
from tests.vm.instance import Instance

CLONE_NEWNS = 0x00020000
MIB = 1 << 20

FILL = """#!/bin/bash
set -euo pipefail
echo "step: fill"
dd if=/dev/zero of="$1/root.ext4" bs=1M status=none
"""

Mount = Callable[..., Path]


def tool(*argv: str | Path) -> None:
    subprocess.run([str(word) for word in argv], check=True, capture_output=True)


@pytest.fixture
def mount() -> Iterator[Mount]:
    """Mounts what only this process and its children see; a crash leaves nothing mounted."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS):
        pytest.fail(f"no own mount namespace: {os.strerror(ctypes.get_errno())}")
    tool("mount", "--make-rprivate", "/")
    with ExitStack() as undo:

        def make(*options: str | Path) -> Path:
            place = Path(tempfile.mkdtemp(prefix="bgrfs-", dir="/tmp"))
            undo.callback(place.rmdir)
            tool("mount", *options, place)
            undo.callback(tool, "umount", place)
            return place

        yield make


@pytest.fixture
def on_xfs(mount: Mount, new_instance: NewInstance, tmp_path: Path) -> Instance:
    disk = tmp_path / "xfs"
    with disk.open("wb") as file:
        file.truncate(4096 * MIB)
    tool("mkfs.xfs", "-q", disk)
    # The loop device goes with the last mount of it.
    return new_instance(place=mount("-o", "loop", disk))


def test_a_life_where_copies_share_blocks(on_xfs: Instance) -> None:
    findings = json.loads(on_xfs.run("doctor", "--json", code=None).stdout)
    found = {finding["check"]: finding for finding in findings}
    assert "shares blocks between copies" in found["reflink"]["summary"]
    on_xfs.create("box", "--work-size", "2G")
    directory = on_xfs.record("box").parent
    for disk in ("root.qcow2", "work.qcow2"):
        assert (directory / disk).stat().st_blocks * 512 < 4 * MIB
    told = [
        event["text"]
        for event in map(json.loads, on_xfs.paths.event_log.read_text().splitlines())
        if event["type"] == "hook-progress"
    ]
    assert "overlay of the image's work seed" in told[-1]
    assert on_xfs.sh("box", "echo kept >/root/file; findmnt -no SOURCE /root") == "/dev/vdb\n"
    on_xfs.run("vm", "restart", "box")
    assert on_xfs.sh("box", "cat /root/file") == "kept\n"
    on_xfs.run("vm", "delete", "box")


@pytest.fixture
def on_little(mount: Mount, new_instance: NewInstance, tmp_path: Path) -> Instance:
    """On a tmpfs with some room beside the image, and a recipe that fills it."""
    site, program = tmp_path / "site", tmp_path / "recipes/fill/build"
    info = site / "fill-1.0.dist-info"
    info.mkdir(parents=True)
    program.parent.mkdir(parents=True)
    program.write_text(FILL)
    program.chmod(0o755)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fill\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[banger.images]\nfill = fill:recipe\n")
    (site / "fill.py").write_text(f"def recipe(): return {str(program)!r}\n")
    place = mount("-t", "tmpfs", "-o", "size=560m", "none")
    return new_instance(place=place, PYTHONPATH=str(site))


def free_bytes(instance: Instance) -> int:
    status = os.statvfs(instance.root)
    return status.f_bavail * status.f_frsize


def test_a_disk_that_gets_full_half_way(on_little: Instance, tmp_path: Path) -> None:
    instance = on_little
    (image,) = instance.json("image", "list")
    root, kernel = Path(image["path"]) / "root.ext4", Path(image["path"]) / "vmlinux"
    instance.run("vm", "create", "before", "--no-start")
    free = free_bytes(instance)

    def nothing_changed() -> None:
        assert instance.names() == {"before"}
        listed = instance.json("image", "list")
        assert [(i["name"], i["id"], i["state"]) for i in listed] == [
            ("debian", image["id"], "ready")
        ]
        assert {path.name for path in instance.paths.vms.iterdir()} == {"before"}
        names = {path.name for path in instance.paths.images.iterdir()}
        assert {name for name in names if not name.startswith(".lock-")} == {image["id"]}

    said = instance.run("image", "build", "fill", code=5).stderr
    assert "No space left on device" in said
    nothing_changed()
    assert free_bytes(instance) > free - MIB, "something of it is left"
    assert "No space left" in instance.run("image", "log", "fill", "--failed").stdout

    with (instance.root / "filler").open("wb") as filler:
        os.posix_fallocate(filler.fileno(), 0, free_bytes(instance) - 20 * MIB)
    outside = tmp_path / "mine.ext4"
    tool("cp", "--sparse=always", root, outside)
    tool("cp", kernel, tmp_path / "vmlinux")
    register = ("image", "register", "--name", "mine", "--rootfs", str(outside))
    assert "No space left" in instance.error(
        *register, "--kernel", str(tmp_path / "vmlinux"), code=5
    )
    nothing_changed()
    archive = instance.root / "out.tar"
    archive = instance.root / "out.tar"
    said = instance.error("image", "export", "debian", str(archive), code=5)
    assert f"{archive} can't be written: No space left on device" in said
    assert not list(instance.root.glob("*out.tar*"))

    with (instance.root / "rest").open("wb") as rest:
        os.posix_fallocate(rest.fileno(), 0, free_bytes(instance))
    said = instance.error("vm", "create", "after", "--no-start", code=5)
    assert "No space left" in said and "full" in said
    nothing_changed()
    instance.signal_daemon(signal.SIGKILL)
    nothing_changed()
    for name in ("filler", "rest"):
        (instance.root / name).unlink()
    shutil.rmtree(instance.paths.state / "image-logs")
    instance.run("vm", "create", "after", "--no-start")
    assert instance.names() == {"before", "after"}
