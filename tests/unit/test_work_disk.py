"""The work disk: made from the image's seed, once; it only grows."""

from __future__ import annotations

import os
import random
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from banger.capabilities import CommandCall, UsageError
from banger.capabilities.builtin.work import WorkDisk, WorkOptions
from banger.host import assets, ext4, ext4_tree, qcow2, work_seed
from banger.host.ext4_extract import extract
from banger.kernel.errors import IllegalState, NotFound
from banger.testing import FakeDaemon, conformance, life

GIB = 1 << 30
CAP_NET_RAW = bytes.fromhex("0100000200200000000000000000000000000000")
"""As setcap writes it (``struct vfs_cap_data``)."""
ACCESS_LIST = struct.pack(
    "<I" + "HHI" * 5,
    *(2, 1, 7, 0xFFFFFFFF, 2, 5, 1234, 4, 5, 0xFFFFFFFF, 0x10, 5, 0xFFFFFFFF, 0x20, 0, 0xFFFFFFFF),
)
"""As ``setfacl -d -m u:1234:rx`` writes it."""
ENABLED = {"enabled": True, "size": "8G"}

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="keeping owners needs root")


def filled(directory: Path) -> Path:
    """A home with all that a copy can lose."""
    home = directory / "root"
    (home / ".config/deep").mkdir(parents=True, mode=0o750)
    home.chmod(0o700)
    (home / ".profile").write_text("umask 077\n")
    (home / ".profile").chmod(0o640)
    (home / "odd name\n'\"").write_bytes(b"\0\xff" * 5000)
    (home / "link").symlink_to(".profile")
    (home / ".config/deep/empty").touch()
    os.setxattr(home / ".profile", "user.note", b"kept \0 whole")
    os.setxattr(home / ".config", "user.large", b"x" * 600)
    os.setxattr(home / ".config", "user.a -f /tmp/b", b"an odd name")
    os.setxattr(home / ".config/deep", "system.posix_acl_default", ACCESS_LIST)
    if os.geteuid() == 0:
        os.chown(home / ".config/deep/empty", 1234, 4321)
        os.setxattr(home / ".config/deep/empty", "trusted.note", b"root's")
        os.setxattr(home / ".config/deep/empty", "security.capability", CAP_NET_RAW)
    return home


def seed_of(home: Path, out: Path) -> Path:
    subprocess.run([assets.work_seed_program(), home, out], check=True, capture_output=True)
    return out


def debugfs(disk: Path, command: str) -> str:
    argv = ["debugfs", "-R", command, str(disk)]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def test_a_seed_is_small_and_sound(tmp_path: Path) -> None:
    seed = seed_of(filled(tmp_path), tmp_path / "seed.ext4")
    subprocess.run(["e2fsck", "-fn", seed], check=True, capture_output=True)
    assert seed.stat().st_blocks * 512 < 8 << 20
    assert "Mode:  0700" in debugfs(seed, "stat /")
    assert "lost+found" not in debugfs(seed, "ls /")
    assert 'user.note (12) = "kept \\000 whole"' in debugfs(seed, "ea_list /.profile")


def attributes_of(disk: Path) -> dict[str, dict[str, bytes]]:
    """The extended attributes of some of what `filled` has made."""
    file = ext4.open_image(disk)
    try:
        tree = ext4_tree.Tree(file, ext4.read_superblock(file, disk))
        paths = ("/", "/.profile", "/link", "/.config", "/.config/deep", "/.config/deep/empty")
        inodes = {path: tree.find(path) for path in paths}
        return {path: tree.attributes(inode) for path, inode in inodes.items() if inode}
    finally:
        os.close(file)


@needs_root
def test_the_slow_way_gives_the_same(tmp_path: Path) -> None:
    """A seed made from the image's disk holds what one made from the tree holds."""
    home = filled(tmp_path)
    wanted = seed_of(home, tmp_path / "wanted.ext4")
    image = tmp_path / "image"
    image.mkdir()
    with (image / "root.ext4").open("wb") as file:
        file.truncate(64 << 20)
    tree = tmp_path / "tree"
    tree.mkdir()
    home.rename(tree / "root")
    argv = ["mkfs.ext4", "-q", "-d", str(tree), str(image / "root.ext4")]
    subprocess.run(argv, check=True, capture_output=True)
    made = work_seed.make_seed(image / "root.ext4", image)
    assert made == work_seed.find_seed(image)
    assert sorted(path.name for path in image.iterdir()) == ["root.ext4", work_seed.NAME]

    def content(seed: Path, name: str) -> dict[Path, object]:
        out = tmp_path / name
        out.mkdir()
        debugfs(seed, f"rdump / {out}")
        paths = sorted(out.rglob("*"))
        return {path.relative_to(out): (path.lstat()[:1], path.lstat()[4:7]) for path in paths}

    assert content(made, "a") == content(wanted, "b")
    assert (tmp_path / "a/odd name\n'\"").read_bytes() == b"\0\xff" * 5000
    attributes = attributes_of(made)
    assert attributes == attributes_of(wanted)
    assert attributes["/.profile"] == {"user.note": b"kept \0 whole"}
    assert attributes["/.config"] == {"user.large": b"x" * 600, "user.a -f /tmp/b": b"an odd name"}
    assert attributes["/.config/deep"] == {"system.posix_acl_default": ACCESS_LIST}
    assert attributes["/.config/deep/empty"] == {
        "trusted.note": b"root's",
        "security.capability": CAP_NET_RAW,
    }


@needs_root
def test_a_damaged_disk_harms_nothing(tmp_path: Path) -> None:
    """Whatever stands in it: an error that is declared, or a seed; and no file elsewhere."""
    tree, disk, out = tmp_path / "tree", tmp_path / "root.ext4", tmp_path / "out"
    tree.mkdir()
    out.mkdir()
    filled(tree)
    argv = ["mkfs.ext4", "-q", "-O", "^metadata_csum", "-d", str(tree), str(disk), "8M"]
    subprocess.run(argv, check=True, capture_output=True)
    chance, whole = random.Random(11), disk.read_bytes()
    busy = [at for at in range(4096, len(whole), 128) if any(whole[at : at + 128])]
    declared = 0
    for number in range(150):
        damaged = bytearray(whole)
        for _ in range(chance.randrange(1, 60)):
            damaged[chance.choice(busy) + chance.randrange(128)] = chance.choice(b"\0\1\2\x7f\xff")
        disk.write_bytes(damaged)
        file = ext4.open_image(disk)
        try:
            found = ext4_tree.Tree(file, ext4.read_superblock(file, disk))
            extract(found, "/root", out / str(number))
        except (ValueError, UsageError, OSError):
            declared += 1
        finally:
            os.close(file)
    assert declared > 10
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"tree", "root.ext4", "out"}


def test_an_image_without_a_home(tmp_path: Path) -> None:
    tree, image = tmp_path / "tree", tmp_path / "image"
    tree.mkdir()
    image.mkdir()
    argv = ["mkfs.ext4", "-q", "-d", str(tree), str(image / "root.ext4"), "16M"]
    subprocess.run(argv, check=True, capture_output=True)
    assert "Mode:  0700" in debugfs(work_seed.make_seed(image / "root.ext4", image), "stat /")


@pytest.mark.parametrize(
    ("size", "error"),
    [("1M", "between 64M and 16T"), ("17T", "between"), ("lots", "lots"), ("-8G", "-8G")],
)
def test_sizes(size: str, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        WorkOptions(size=size)


def put_seed(directory: Path) -> None:
    (directory / "image").mkdir(exist_ok=True)
    with (directory / "image" / work_seed.NAME).open("wb") as file:
        file.truncate(64 << 20)


async def test_a_life(tmp_path: Path) -> None:
    put_seed(tmp_path)
    async with life(WorkDisk, tmp_path, ENABLED) as vm:
        disk = vm.vm.directory / "work.qcow2"
        assert qcow2.read_header(disk).virtual_size == 8 * GIB
        assert disk.stat().st_blocks * 512 <= 16 << 10
        assert [(mount.path, mount.grow) for mount in vm.guest.plan.config.mounts] == [
            ("/root", True)
        ]
        assert vm.guest.plan.config.unnest == ["/root"]
        disk.write_bytes(disk.read_bytes() + b"written by the guest")
        before = disk.stat()
        await vm.stop()
        await vm.start()
        assert (disk.stat().st_ino, disk.stat().st_mtime) == (before.st_ino, before.st_mtime)


async def test_it_grows_at_the_next_start_and_never_shrinks(tmp_path: Path) -> None:
    put_seed(tmp_path)
    async with life(WorkDisk, tmp_path, ENABLED) as vm:
        disk = vm.vm.directory / "work.qcow2"
        await vm.change(size="20G")
        assert qcow2.read_header(disk).virtual_size == 8 * GIB
        with pytest.raises(UsageError, match="--work-size 4G is less than the 20G"):
            await vm.change(size="4G")
        with pytest.raises(UsageError, match="was made with a work disk"):
            await vm.change(enabled=False)
        await vm.stop()
        await vm.start()
        assert qcow2.read_header(disk).virtual_size == 20 * GIB


async def test_a_vm_without_one(tmp_path: Path) -> None:
    async with life(WorkDisk, tmp_path, {"enabled": False}) as vm:
        assert not list(vm.vm.directory.iterdir())
        assert not vm.guest.plan.config.mounts
        assert not vm.guest.plan.config.unnest
        with pytest.raises(UsageError, match="was made without a work disk"):
            await vm.change(enabled=True)


async def test_a_size_without_a_disk(tmp_path: Path) -> None:
    put_seed(tmp_path)
    with pytest.raises(UsageError, match="--work-size 20G"):
        async with life(WorkDisk, tmp_path, {"enabled": False, "size": "20G"}):
            pass
    async with life(WorkDisk, tmp_path, {"enabled": False}) as vm:
        with pytest.raises(UsageError, match="this VM has none"):
            await vm.change(size="20G")
        await vm.stop()
        await vm.start()


async def test_a_disk_is_made_anew(tmp_path: Path) -> None:
    put_seed(tmp_path)

    async def reset(name: str) -> tuple[Any, list[str]]:
        lines: list[str] = []

        async def write(text: str) -> None:
            lines.append(text)

        call = CommandCall({"name": name}, write)
        assert await capability.reset_work(call) == 0
        return call.document, lines

    daemon = FakeDaemon(WorkDisk, tmp_path)
    capability: Any = daemon.capability
    with pytest.raises(NotFound, match="no VM 'box'"):
        await reset("box")
    bare = await daemon.create("bare", {"enabled": False}, start=False)
    with pytest.raises(UsageError, match="has no work disk"):
        await reset("bare")
    vm = await daemon.create("box", ENABLED)
    directory = vm.vm.directory
    disk, former = directory / "work.qcow2", directory / "work.former.qcow2"
    disk.write_bytes(b"destroyed")
    with pytest.raises(IllegalState, match="it is running"):
        await reset("box")
    await vm.stop()
    for _ in range(2):
        document, lines = await reset("box")
        assert document == {"vm": "box", "former": str(former)} and len(lines) == 2
        assert former.read_bytes() == b"destroyed" and not disk.exists()
    await vm.start()
    assert qcow2.read_header(disk).virtual_size == 8 * GIB
    await vm.delete()
    await bare.delete()


async def test_conformance(tmp_path: Path) -> None:
    await conformance(WorkDisk, tmp_path, settings={"enabled": False})
