"""Reading ext4 file systems that are not mounted, and may be hostile."""

from __future__ import annotations

import os
import random
import struct
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from banger.host import ext4
from banger.host.ext4 import Superblock, check_room, open_image, read_superblock
from banger.host.ext4_tree import Tree, distribution, find_init
from banger.kernel.errors import BangerError, NotFound, UsageError
from tests.unit.image_actor import make_root

PLAIN = ("-O", "^metadata_csum,^64bit")


def look(path: Path) -> tuple[Superblock, str | None, str]:
    file = open_image(path)
    try:
        found = read_superblock(file, path)
        check_room(found, path)
        tree = Tree(file, found)
        return found, find_init(tree), distribution(tree)
    finally:
        os.close(file)


def patch(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(ext4.SUPERBLOCK_AT + at)
        file.write(data)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Without checksums, so that its superblock can be changed."""
    return make_root(tmp_path_factory.mktemp("ext4") / "root.ext4", options=PLAIN)


@pytest.fixture
def copy(root: Path, tmp_path: Path) -> Path:
    target = tmp_path / "root.ext4"
    subprocess.run(["cp", "--sparse=always", str(root), str(target)], check=True)
    return target


@pytest.mark.parametrize(
    "options",
    [
        (),
        PLAIN,
        ("-b", "1024"),
        ("-b", "2048", "-I", "512"),
        ("-O", "^has_journal,^flex_bg"),
        ("-O", "^dir_index"),
    ],
    ids=lambda options: " ".join(options) or "defaults",
)
def test_file_systems_as_they_come(tmp_path: Path, options: tuple[str, ...]) -> None:
    path = make_root(tmp_path / "root.ext4", options=options)
    found, init, name = look(path)
    assert found.bytes == 32 << 20
    assert init == "/sbin/init"
    assert name == "Odd Linux 7"


def test_a_directory_with_an_index(tmp_path: Path) -> None:
    """Its own blocks look like an empty entry; names are in the blocks behind."""
    tree = tmp_path / "tree"
    (tree / "etc").mkdir(parents=True)
    for number in range(1500):
        (tree / "etc" / f"a-name-of-some-length-{number}").symlink_to(f"{number}")
    (tree / "etc/a-name-of-some-length-1").unlink()
    (tree / "etc/a-name-of-some-length-1").write_text("here")
    path = tmp_path / "root.ext4"
    argv = ["mkfs.ext4", "-q", "-F", "-b", "1024", "-d", str(tree), str(path), "32M"]
    subprocess.run(argv, check=True, capture_output=True)
    subprocess.run(["e2fsck", "-fyD", str(path)], capture_output=True)
    file = open_image(path)
    try:
        found = Tree(file, read_superblock(file, path))
        inode = found.find("/etc/a-name-of-some-length-1")
        assert inode is not None
        assert found.read(inode, 100) == b"here"
        assert found.find("/etc/none") is None
    finally:
        os.close(file)


def test_links(tmp_path: Path) -> None:
    tree = tmp_path / "root.ext4.tree"
    (tree / "etc").mkdir(parents=True)
    (tree / "loop").symlink_to("loop")
    (tree / "etc/up").symlink_to("../../../etc/" + "x" * 100)
    (tree / "etc" / ("x" * 100)).write_text("content")
    path = tmp_path / "root.ext4"
    argv = ["mkfs.ext4", "-q", "-F", "-d", str(tree), str(path), "32M"]
    subprocess.run(argv, check=True, capture_output=True)
    file = open_image(path)
    try:
        found = Tree(file, read_superblock(file, path))
        inode = found.find("/etc/up")
        assert inode is not None
        assert found.read(inode, 3) == b"con"
        with pytest.raises(ValueError, match="loop of links"):
            found.find("/loop")
        assert found.find("/etc/up/below-a-file") is None
    finally:
        os.close(file)


@pytest.mark.parametrize("kind", ["link", "fifo", "directory", "device", "missing", "relative"])
def test_what_is_no_plain_file(root: Path, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "image"
    wanted: type[BangerError] = UsageError
    match kind:
        case "link":
            path.symlink_to(root)
        case "fifo":
            os.mkfifo(path)
        case "directory":
            path.mkdir()
        case "device":
            path = Path("/dev/null")
        case "missing":
            wanted = NotFound
        case "relative":
            path = Path("image")
    with pytest.raises(wanted, match=str(path)):
        open_image(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "a file of 0 bytes"),
        (b"x" * 1500, "a file of 1500 bytes"),
        (bytes(4096), "something else"),
        (b"QFI\xfb" + bytes(8192), "a qcow2 disk"),
        (b"hsqs" + bytes(8192), "a squashfs"),
        (b"\x1f\x8b" + bytes(8192), "compressed by gzip"),
        (bytes(0x200) + b"EFI PART" + bytes(8192), "a disk with partitions"),
        (bytes(510) + b"\x55\xaa" + bytes(8192), "a disk with a boot sector"),
    ],
)
def test_other_formats(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "image"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=f"{said}, not an ext4"):
        look(path)


@pytest.mark.parametrize(
    ("at", "data", "said"),
    [
        (0x04, b"\xff\xff\xff\x7f", "it has [0-9]+ bytes, the file only|bytes large in a file"),
        (0x04, bytes(4), "0 bytes large"),
        (0x04, struct.pack("<I", 40_000), "the file only"),
        (0x18, struct.pack("<I", 40), "blocks of 2"),
        (0x3A, struct.pack("<H", 0), "not unmounted cleanly"),
        (0x3A, struct.pack("<H", 3), "has errors"),
        (0x60, struct.pack("<I", 0x2C6), "not unmounted cleanly"),
        (0x60, struct.pack("<I", 0x2), "ext2 or ext3"),
        (0x60, struct.pack("<I", 0x8), "journal device"),
        (0x60, struct.pack("<I", 0x102C2), "encrypted"),
        (0x60, struct.pack("<I", 0x4000_02C2), "features that are not known"),
        (0x64, struct.pack("<I", 0x1000), "read-only for ever"),
        (0x28, struct.pack("<I", 0), "contradicts itself"),
        (0x58, struct.pack("<H", 3), "contradicts itself"),
        (0x0C, struct.pack("<I", 10), "no room to boot"),
        (0x10, struct.pack("<I", 10), "no room to boot"),
    ],
)
def test_a_superblock_that_will_not_do(copy: Path, at: int, data: bytes, said: str) -> None:
    patch(copy, at, data)
    with pytest.raises(UsageError, match=said):
        look(copy)


def test_a_truncated_file(copy: Path) -> None:
    os.truncate(copy, 16 << 20)
    with pytest.raises(UsageError, match="the file only 16777216"):
        look(copy)
    os.truncate(copy, 1500)
    with pytest.raises(UsageError, match="a file of 1500 bytes"):
        look(copy)


def test_a_wrong_checksum(tmp_path: Path) -> None:
    path = make_root(tmp_path / "root.ext4")
    patch(path, 0x78, b"other")
    with pytest.raises(UsageError, match="wrong checksum"):
        look(path)


def test_damage_anywhere_is_an_error_or_goes_unnoticed(copy: Path) -> None:
    """Never a crash, never without end."""
    chance = random.Random(7)
    whole = copy.read_bytes()
    busy = [at for at in range(0, len(whole), 1024) if any(whole[at : at + 1024])]
    with copy.open("r+b", buffering=0) as file:
        for _ in range(500):
            places = [
                chance.choice(busy) + chance.randrange(1024) for _ in range(chance.randrange(1, 40))
            ]
            for at in places:
                os.pwrite(file.fileno(), chance.choice((b"\0", b"\1", b"\x7f", b"\xff")), at)
            with suppress(UsageError, ValueError):
                look(copy)
            for at in places:
                os.pwrite(file.fileno(), whole[at : at + 1], at)
    look(copy)
