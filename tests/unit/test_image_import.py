"""Root tarballs of strangers: what gets in, and what is refused before anything is written."""

from __future__ import annotations

import gzip
import lzma
import os
import stat
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from banger.host import ext4, ext4_tree
from banger.host.archive import Budget, Source, open_file
from banger.host.tree import Kind, Node, Tree
from banger.host.tree_disk import disk_size
from banger.host.tree_import import ImportOrder, import_image
from banger.host.tree_read import read_tree
from banger.host.tree_write import write_tree
from banger.kernel.errors import BangerError, HostNotReady, NotFound, UsageError
from banger.model.image import ImageInit, ImportFormat
from banger.model.sizes import GIB, MIB
from tests.oci_layout import Entry, archive, directory, entry, hard_link, link

LIMIT = 64 * MIB
LONG = "n" * 256
DEEP = "/".join(["d"] * 200)


def source_of(path: Path, *entries: Entry) -> Source:
    path.write_bytes(archive(*entries))
    return Source(path.name, lambda: open_file(path))


def read(path: Path, *entries: Entry, limit: int = LIMIT) -> Tree:
    return read_tree([source_of(path / "root.tar", *entries)], Budget(limit), layers=False)


def unpacked(path: Path, *entries: Entry) -> Path:
    source = source_of(path / "root.tar", *entries)
    tree = read_tree([source], Budget(LIMIT), layers=False)
    target = path / "tree"
    target.mkdir()
    file = os.open(target, os.O_RDONLY)
    write_tree(tree, [source], file, Budget(LIMIT))
    os.close(file)
    return target


REFUSED: dict[str, tuple[list[Entry], str]] = {
    "absolute": ([entry("/etc/passwd")], "leads out"),
    "upwards": ([entry("a/../../b")], "leads out"),
    "upwards in the middle": ([directory("a"), entry("a/../b")], "leads out"),
    "by a link": ([link("a", "../.."), entry("a/b")], "out of the root by a link"),
    "by an absolute link": ([link("a", "/../x"), entry("a/b")], "out of the root by a link"),
    "loop of links": ([link("a", "b"), link("b", "a"), entry("a/x")], "loop"),
    "below a file": ([entry("a"), entry("a/b")], "no directory"),
    "below a device": ([entry("a", type=tarfile.CHRTYPE), entry("a/b")], "no directory"),
    "hard link out": ([hard_link("a", "/etc/passwd")], "leads out"),
    "hard link upwards": ([hard_link("a", "../x")], "leads out"),
    "hard link to nothing": ([hard_link("a", "b")], "no earlier file"),
    "hard link to a directory": ([directory("b"), hard_link("a", "b")], "no earlier file"),
    "hard link ahead": ([hard_link("a", "b"), entry("b")], "no earlier file"),
    "hard link through a link": (
        [link("l", "../../etc"), hard_link("a", "l/passwd")],
        "out of the root by a link",
    ),
    "twice": ([entry("a", b"1"), entry("a", b"2")], "twice"),
    "a link, then a file": ([link("a", "/etc/x"), entry("a", b"2")], "twice"),
    "a directory, then a link": ([directory("a"), link("./a", "/etc")], "twice"),
    "twice by another way": ([directory("a"), link("b", "a"), entry("a/x"), entry("b/x")], "twice"),
    "the root as a file": ([entry(".")], "no directory"),
    "long name": ([entry(LONG)], "too long"),
    "long target": ([link("a", "t/" * 2050)], "too long"),
    "deep": ([directory(DEEP)], "deeper"),
    "unknown type": ([entry("a", type=b"Z")], "unknown type"),
    "user": ([entry("a", uid=(1 << 32) - 1)], "of user"),
    "attributes": (
        [entry("a", pax_headers={"SCHILY.xattr.user.a": "x" * 4000})],
        "extended attributes",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_hostile_members_are_refused(tmp_path: Path, name: str) -> None:
    entries, said = REFUSED[name]
    with pytest.raises(UsageError, match=said) as caught:
        read(tmp_path, *entries)
    assert caught.value.message.startswith("root.tar")


def test_a_nul_in_a_name(tmp_path: Path) -> None:
    odd = entry("a", pax_headers={"path": "a\0b"})
    with pytest.raises(UsageError, match="leads out"):
        read(tmp_path, odd)


def test_bombs(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"larger than 1\.0 MiB") as caught:
        read(tmp_path, entry("a", bytes(MIB)), entry("b", b"x"), limit=MIB)
    assert "--max-size" in caught.value.hint
    # A file that is nothing but a hole, as GNU tar stores it.
    hole = tmp_path / "hole"
    with hole.open("wb") as file:
        file.truncate(1 << 40)
    subprocess.run(["tar", "-cSf", "hole.tar", "hole"], cwd=tmp_path, check=True)
    hole.unlink()
    source = Source("hole.tar", lambda: open_file(tmp_path / "hole.tar"))
    with pytest.raises(UsageError, match=r"larger than 64\.0 MiB"):
        read_tree([source], Budget(LIMIT), layers=False)
    # Nothing but padding, which is no file.
    bomb = tmp_path / "bomb.tar.gz"
    bomb.write_bytes(archive(entry("a")) + gzip.compress(bytes(8 * MIB)))
    with pytest.raises(UsageError):
        read_tree([Source("bomb", lambda: open_file(bomb))], Budget(LIMIT), layers=False)
    budget = Budget(LIMIT)
    budget.members_left = 2
    with pytest.raises(UsageError, match="members"):
        read_tree([source_of(tmp_path / "m.tar", *map(entry, "abc"))], budget, layers=False)
    budget = Budget(LIMIT)
    budget.bytes_left = 10_000
    packed = tmp_path / "padded.tar.gz"
    packed.write_bytes(gzip.compress(archive(entry("a", bytes(20_000)))))
    with pytest.raises(UsageError, match="larger than"):
        read_tree([Source("padded", lambda: open_file(packed))], budget, layers=False)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_headers_that_fill_the_memory(tmp_path: Path, kind: bytes) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, 8 * GIB
    path = tmp_path / "a.tar"
    with path.open("wb") as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT))
        file.truncate(9 * GIB)
    with pytest.raises(UsageError, match="header of 8589934592 bytes"):
        read_tree([Source("a.tar", lambda: open_file(path))], Budget(16 * GIB), layers=False)


@pytest.mark.parametrize("cut", [0, 100, 512, 700, 1024, 2048, 2500])
def test_a_cut_archive_is_refused(tmp_path: Path, cut: int) -> None:
    """The members end at 1024, 2048 and 3072."""
    path = tmp_path / "cut.tar"
    path.write_bytes(archive(*(entry(name, b"x") for name in "abc"))[:cut])
    with pytest.raises(UsageError, match="cut"):
        read_tree([Source("cut.tar", lambda: open_file(path))], Budget(LIMIT), layers=False)


def test_what_follows_the_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "two.tar"
    path.write_bytes(archive(entry("a")) + archive(entry("b")))
    with pytest.raises(UsageError, match="after its end"):
        read_tree([Source("two.tar", lambda: open_file(path))], Budget(LIMIT), layers=False)


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "xz": lzma.compress,
    "zst": lambda data: (
        subprocess.run(["zstd", "-cq"], input=data, capture_output=True, check=True).stdout
    ),
}


@pytest.mark.parametrize("ending", PACKED)
def test_compressions(tmp_path: Path, ending: str) -> None:
    content = os.urandom(100_000)
    data, path = PACKED[ending](archive(entry("a", content))), tmp_path / "any-name"
    path.write_bytes(data)
    source = Source("it", lambda: open_file(path))
    found = read_tree([source], Budget(LIMIT), layers=False).find("a")
    assert found is not None and found.size == 100_000
    for damaged in (data[:-2000], data[:50_000] + bytes(100) + data[50_100:]):
        path.write_bytes(damaged)
        with pytest.raises(UsageError):
            read_tree([source], Budget(LIMIT), layers=False)


def test_what_is_unpacked(tmp_path: Path) -> None:
    """Links that lead out stay what they are: in the guest they lead nowhere else."""
    content = b"begin" + bytes(2 * MIB) + b"end"
    tree = unpacked(
        tmp_path,
        directory(".", 0o750),
        link("out", "/etc/passwd"),
        link("up", "../../../etc"),
        entry("usr/bin/su", b"program", mode=0o4755, mtime=1000),
        hard_link("usr/bin/also", "usr/bin/su"),
        link("bin", "usr/bin"),
        entry("bin/sh", b"by a link"),
        entry("hole", content),
        directory("closed", 0o000),
        entry("closed/inside", b"x", pax_headers={"SCHILY.xattr.user.word": "värdi\0"}),
        entry("dev/null", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
        entry("dev/sda", type=tarfile.BLKTYPE),
        entry("run/pipe", type=tarfile.FIFOTYPE),
    )
    assert stat.S_IMODE(tree.stat().st_mode) == 0o750
    assert (tree / "out").readlink() == Path("/etc/passwd")
    assert (tree / "up").readlink() == Path("../../../etc")
    program = (tree / "usr/bin/su").stat()
    assert stat.S_IMODE(program.st_mode) == 0o4755 and program.st_mtime == 1000
    assert (tree / "usr/bin/also").stat().st_ino == program.st_ino
    assert (tree / "usr/bin/sh").read_bytes() == b"by a link"
    assert (tree / "bin").is_symlink()
    assert (tree / "hole").read_bytes() == content
    assert (tree / "hole").stat().st_blocks * 512 < MIB
    assert stat.S_IMODE((tree / "closed").stat().st_mode) == 0
    if os.geteuid() == 0:
        assert os.getxattr(tree / "closed/inside", "user.word") == "värdi\0".encode()
    assert [*(tree / "dev").iterdir(), *(tree / "run").iterdir()] == []
    (tree / "closed").chmod(0o700)


@pytest.mark.skipif(os.geteuid() != 0, reason="owners and capabilities need root")
def test_owners_and_capabilities(tmp_path: Path) -> None:
    # CAP_NET_RAW, effective: VFS_CAP_REVISION_2 of linux/capability.h.
    capability = "\x01\0\0\x02\0\x20" + "\0" * 14
    tree = unpacked(
        tmp_path,
        entry(
            "ping",
            b"x",
            uid=7,
            gid=8,
            mode=0o2755,
            pax_headers={
                "SCHILY.xattr.security.capability": capability,
                "SCHILY.xattr.trusted.overlay.opaque": "y",
            },
        ),
    )
    status = (tree / "ping").stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (7, 8, 0o2755)
    assert os.listxattr(tree / "ping") == ["security.capability"]


def test_an_archive_that_changes_meanwhile(tmp_path: Path) -> None:
    source = source_of(tmp_path / "root.tar", entry("a", b"1"))
    tree = read_tree([source], Budget(LIMIT), layers=False)
    source_of(tmp_path / "root.tar", entry("a", b"12"))
    target = tmp_path / "tree"
    target.mkdir()
    file = os.open(target, os.O_RDONLY)
    with pytest.raises(UsageError, match="changed"):
        write_tree(tree, [source], file, Budget(LIMIT))
    os.close(file)


def order(path: Path, **changes: object) -> ImportOrder:
    fields = {"format": ImportFormat.TAR, "path": str(path), "max_bytes": LIMIT, **changes}
    return ImportOrder(**fields)  # type: ignore[arg-type]


def tarball(path: Path, *entries: Entry) -> Path:
    path.write_bytes(archive(*entries))
    return path


def test_the_disks(tmp_path: Path) -> None:
    path = tarball(
        tmp_path / "root.tar",
        entry("usr/lib/os-release", b'PRETTY_NAME="Odd 7"'),
        link("etc/os-release", "../usr/lib/os-release"),
        entry("sbin/init", b"#!/bin/sh", mode=0o755),
        entry("root/.profile", b"hello"),
    )
    out = tmp_path / "out"
    out.mkdir()
    facts = import_image(order(path), out)
    assert (facts.distribution, facts.init, facts.process) == ("Odd 7", ImageInit.IMAGE, None)
    assert sorted(path.name for path in out.iterdir()) == ["root.ext4", "work-seed.ext4"]
    file = ext4.open_image(out / "root.ext4")
    tree = ext4_tree.Tree(file, ext4.read_superblock(file, out / "root.ext4"))
    for name in ("/proc", "/dev", "/run", "/tmp", "/root/.profile"):
        assert tree.find(name) is not None, name
    os.close(file)
    assert (out / "root.ext4").stat().st_size >= 512 * MIB
    assert subprocess.run(["e2fsck", "-fn", out / "root.ext4"], capture_output=True).returncode == 0


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([entry("readme", b"x")], "no root file system"),
        ([entry("manifest.json", b"[]"), directory("etc")], "image in layers"),
        ([entry("oci-layout", b"{}"), entry("index.json", b"{}")], "image in layers"),
        ([directory("etc"), link("root", "/root")], "/root is no directory"),
    ],
)
def test_what_is_no_root_file_system(tmp_path: Path, entries: list[Entry], said: str) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(UsageError, match=said):
        import_image(order(tarball(tmp_path / "a.tar", *entries)), out)
    assert not (out / "tree").exists()


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    fifo, away = tmp_path / "fifo", tmp_path / "link"
    os.mkfifo(fifo)
    away.symlink_to(tarball(tmp_path / "a.tar", directory("etc")))
    cases: list[tuple[Path, type[BangerError]]] = [
        (fifo, UsageError),
        (away, UsageError),
        (tmp_path, UsageError),
        (tmp_path / "none", NotFound),
    ]
    for path, error in cases:
        with pytest.raises(error):
            import_image(order(path), tmp_path)


def test_inits(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    path = tarball(tmp_path / "a.tar", directory("etc"))
    assert import_image(order(path), out).init is ImageInit.AGENT
    with pytest.raises(UsageError, match="no init"):
        import_image(order(path, init=ImageInit.IMAGE), out)


def test_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = Tree()
    tree.put("a", Node(Kind.FILE, 0o644, size=GIB), set())
    assert disk_size(tree, 2 * GIB) == 2 * GIB
    assert 1.3 * GIB + 512 * MIB <= disk_size(tree, 0) < 1.4 * GIB + 512 * MIB
    with pytest.raises(UsageError, match="too small"):
        disk_size(tree, GIB)
    free = os.statvfs(tmp_path)
    values = {name: getattr(free, name) for name in ("f_frsize",)}
    small = type("Small", (), {**values, "f_bavail": 10})
    monkeypatch.setattr(os, "statvfs", lambda _: small)
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(HostNotReady, match="free"):
        import_image(order(tarball(tmp_path / "a.tar", directory("etc"))), out)
    assert list(out.iterdir()) == []
