"""Registering files that are not banger's: checked, noted, never touched."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from banger.actors.images import DeleteImage, DescribeImage, FindImage, ListImages, SetDefault
from banger.host.ext4 import open_image, read_superblock
from banger.host.ext4_tree import Tree
from banger.host.image_files import usable_files
from banger.kernel.errors import BangerError, Conflict, HostNotReady, NotFound, UsageError
from banger.model.image import ImageState
from tests.unit.image_actor import GOOD, Installation, make_root, running, vm_of

KERNEL = b"\x7fELF" + bytes(100) + b"Linux version 6.9.1-odd (me) #1" + bytes(100)


@pytest.fixture
async def images(tmp_path: Path) -> AsyncIterator[Installation]:
    """With a built default image."""
    async with running(tmp_path) as started:
        started.recipe(GOOD)
        await started.build()
        yield started


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_root(tmp_path_factory.mktemp("root") / "root.ext4")


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def home_of(seed: Path) -> dict[bytes, bytes | None]:
    """What a work seed holds: content of files, targets of links."""
    file = open_image(seed)
    try:
        tree = Tree(file, read_superblock(file, seed))
        top = tree.find("/")
        assert top is not None
        found: dict[bytes, bytes | None] = {}
        for name, inode in tree.entries(top):
            is_link = stat.S_ISLNK(inode.mode)
            content = tree.read(inode, 100) if stat.S_ISREG(inode.mode) else None
            found[name] = tree.target(inode) if is_link else content
        return found
    finally:
        os.close(file)


def refreshed(path: Path, seconds: int) -> None:
    """As if it was written to that much later."""
    later = path.stat().st_mtime_ns + seconds * 10**9
    os.utime(path, ns=(later, later))


async def refused(
    images: Installation, error: type[BangerError], said: str, path: Path, **files: str
) -> None:
    """Registering fails so, and changes nothing."""
    before, default = images.left(), await images.ref.ask(FindImage(None))
    with pytest.raises(error, match=said):
        await images.register(path, **files)
    assert images.left() == before
    assert await images.ref.ask(FindImage(None)) == default


async def test_a_file(images: Installation, root: Path) -> None:
    before = digest(root), root.stat()
    outcome = await images.register(root)
    view = outcome.image
    assert outcome.new and outcome.kernel_from == "debian"
    assert (view.name, view.managed, view.source) == ("mine", False, str(root))
    assert (view.distribution, view.kernel_version) == ("Odd Linux 7", "6.1.0")
    assert view.disk_bytes == root.stat().st_size
    assert view.state is ImageState.READY
    assert not view.default
    files = usable_files(images.store.root, view.id)
    assert files.root == root
    assert files.kernel.read_text() == "kernel\n"
    assert files.modules.read_text() == "modules\n"
    assert files.work_seed is not None and view.work_seed
    assert home_of(files.work_seed) == {b".profile": b"hello\n", b"dir": None, b"link": b"/x"}
    again = await images.register(root)
    assert not again.new and again.image == view
    await images.ref.ask(DeleteImage("mine"))
    assert (digest(root), root.stat()) == before
    assert len(images.left()) == 1


def dump(disk: Path, path: str, target: Path) -> Path:
    argv = ["debugfs", "-R", f"dump {path} {target}", str(disk)]
    subprocess.run(argv, check=True, capture_output=True)
    return target


async def test_a_large_home(images: Installation, tmp_path: Path) -> None:
    """Its files are copied a piece at a time, and holes stay holes."""
    sparse, full = tmp_path / "sparse", tmp_path / "full"
    with sparse.open("wb") as file:
        file.write(b"begin")
        file.seek(300 << 20)
        file.write(b"end")
    full.write_bytes(os.urandom(50 << 20))
    root = make_root(tmp_path / "large.ext4", size="120M")
    for path in (sparse, full):
        argv = ["debugfs", "-w", "-R", f"write {path} /root/{path.name}", str(root)]
        subprocess.run(argv, check=True, capture_output=True)
    view = (await images.register(root)).image
    seed = Path(view.path) / "work-seed.ext4"
    assert seed.stat().st_blocks * 512 < 70 << 20
    for path in (sparse, full):
        copy = dump(seed, f"/{path.name}", tmp_path / "copy")
        assert digest(copy) == digest(path)


async def test_a_home_that_is_too_large(images: Installation, tmp_path: Path) -> None:
    await images.build()
    bomb = tmp_path / "bomb"
    with bomb.open("wb") as file:
        file.truncate((1 << 30) + 1)
    root = make_root(tmp_path / "bomb.ext4")
    argv = ["debugfs", "-w", "-R", f"write {bomb} /root/bomb", str(root)]
    subprocess.run(argv, check=True, capture_output=True)
    await refused(images, UsageError, "more than 1024 MiB in one home", root)


async def test_with_files_of_its_own(images: Installation, root: Path, tmp_path: Path) -> None:
    kernel, modules = tmp_path / "vmlinuz", tmp_path / "modules"
    kernel.write_bytes(KERNEL)
    kernel.chmod(0o600)
    modules.write_bytes(b"070701 and so on")
    seed = make_root(tmp_path / "seed.ext4", init=False)
    outcome = await images.register(
        root, kernel=str(kernel), modules=str(modules), work_seed=str(seed)
    )
    assert outcome.kernel_from == ""
    assert outcome.image.kernel_version == "6.9.1-odd"
    assert outcome.image.work_seed
    files = usable_files(images.store.root, outcome.image.id)
    assert files.kernel.read_bytes() == KERNEL
    assert files.kernel.stat().st_mode & 0o777 == 0o644
    assert files.modules.read_bytes() == modules.read_bytes()
    assert files.work_seed is not None
    assert digest(files.work_seed) == digest(seed)
    for path in (kernel, modules, seed):
        path.unlink()
    assert (await images.ref.ask(DescribeImage("mine"))).state is ImageState.READY


async def test_kernel_and_modules_that_will_not_do(
    images: Installation, root: Path, tmp_path: Path
) -> None:
    odd, kernel, link = tmp_path / "odd", tmp_path / "vmlinux", tmp_path / "link"
    odd.write_bytes(b"odd" * 1000)
    kernel.write_bytes(KERNEL)
    link.symlink_to(kernel)
    empty = tmp_path / "empty"
    empty.touch()
    await refused(images, UsageError, "is no Linux kernel", root, kernel=str(odd))
    await refused(images, UsageError, "0 B", root, kernel=str(empty))
    await refused(images, UsageError, "it is a link", root, kernel=str(link))
    await refused(images, NotFound, "no file", root, kernel=str(tmp_path / "none"))
    given = {"kernel": str(kernel), "modules": str(odd)}
    await refused(images, UsageError, "no uncompressed cpio", root, **given)
    await refused(images, UsageError, "fit one kernel only", root, modules=str(odd))
    await refused(images, UsageError, "something else", root, work_seed=str(odd))


async def test_files_that_will_not_do(images: Installation, root: Path, tmp_path: Path) -> None:
    without = make_root(tmp_path / "without.ext4", init=False)
    await refused(images, UsageError, "has no init", without)
    link = tmp_path / "link"
    link.symlink_to(root)
    await refused(images, UsageError, "it is a link", link)
    await refused(images, UsageError, "not an absolute path", Path("root.ext4"))
    await refused(images, UsageError, "not an absolute path", root.parent / ".." / "x")
    await refused(images, UsageError, "unprintable", tmp_path / "a\nb")
    await refused(images, UsageError, "longer than 1000", tmp_path / ("x/" * 600))
    own = images.store.root / (await images.ref.ask(FindImage("debian"))).id / "root.ext4"
    await refused(images, UsageError, "banger's own", own)


async def test_a_path_through_links(images: Installation, root: Path, tmp_path: Path) -> None:
    (tmp_path / "way").symlink_to(root.parent)
    outcome = await images.register(tmp_path / "way" / root.name)
    assert outcome.image.source == str(root)


async def test_the_name_of_a_built_image(images: Installation, root: Path) -> None:
    with pytest.raises(Conflict, match="one that banger built"):
        await images.register(root, "debian")
    await images.register(root, "mine")
    with pytest.raises(Conflict, match="was registered, not built"):
        await images.build("mine")


async def test_without_a_default_image(tmp_path: Path, root: Path) -> None:
    async with running(tmp_path) as images:
        with pytest.raises(HostNotReady, match="no kernel for it"):
            await images.register(root)
        assert images.left() == set()


async def test_a_file_that_changes(images: Installation, tmp_path: Path) -> None:
    path = make_root(tmp_path / "mine.ext4")
    old = (await images.register(path)).image
    images.vms.append(vm_of(old.id))
    refreshed(path, 5)
    view = await images.ref.ask(DescribeImage("mine"))
    assert view.state is ImageState.UNUSABLE
    assert "was written to" in view.problem
    with pytest.raises(HostNotReady, match=r"'mine' can't be used: .* was written to"):
        usable_files(images.store.root, old.id)
    new = await images.register(path)
    assert new.new and new.image.state is ImageState.READY
    with pytest.raises(HostNotReady, match="was written to"):
        usable_files(images.store.root, old.id)
    usable_files(images.store.root, new.image.id)
    with path.open("ab") as file:
        file.write(b"more")
    assert "had 33554432 bytes" in (await images.ref.ask(DescribeImage("mine"))).problem
    path.unlink()
    assert "No such file" in (await images.ref.ask(DescribeImage("mine"))).problem
    path.mkdir()
    assert "no longer a regular file" in (await images.ref.ask(ListImages()))[1].problem


async def test_its_kernel_outlives_the_default_image(images: Installation, root: Path) -> None:
    view = (await images.register(root)).image
    await images.ref.ask(SetDefault("mine"))
    await images.ref.ask(DeleteImage("debian"))
    assert usable_files(images.store.root, view.id).kernel.read_text() == "kernel\n"
    again = await images.register(root)
    assert (again.new, again.kernel_from) == (False, "mine")
