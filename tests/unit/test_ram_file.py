"""A guest's memory on disk and in the host's memory."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import pytest

from banger.host.ram_file import RamFile
from banger.kernel.errors import CorruptRecord, HostNotReady

SIZE = 8 << 20
PAGE = mmap.PAGESIZE


def written(*pages: int) -> RamFile:
    """With some bytes in each of these pages."""
    ram = RamFile.of_size(SIZE)
    with ram.path.open("r+b") as file:
        for page in pages:
            file.seek(page * PAGE + 100)
            file.write(b"page %d" % page)
    return ram


def open_files() -> int:
    return len([*Path("/proc/self/fd").iterdir()])


def content(ram: RamFile) -> bytes:
    return ram.path.read_bytes()


@pytest.mark.parametrize(
    "pages", [(), (0,), (SIZE // PAGE - 1,), (0, 1, 2, 7), tuple(range(5, 1500, 3))]
)
def test_what_is_loaded_is_what_was_stored(tmp_path: Path, pages: tuple[int, ...]) -> None:
    ram = written(*pages)
    digest = ram.store(tmp_path / "ram")
    loaded = RamFile.load(tmp_path / "ram", size_bytes=SIZE, digest=digest)
    assert content(loaded) == content(ram)
    ram.close()
    loaded.close()


def test_only_pages_with_something_in_them_take_space(tmp_path: Path) -> None:
    ram = written(1, 900)
    with ram.path.open("r+b") as file:
        file.seek(100 * PAGE)
        file.write(bytes(50 * PAGE))
    digest = ram.store(tmp_path / "ram")
    ram.close()
    status = (tmp_path / "ram").stat()
    assert status.st_size == SIZE
    assert status.st_blocks * 512 <= 16 * PAGE
    loaded = RamFile.load(tmp_path / "ram", size_bytes=SIZE, digest=digest)
    assert loaded.path.stat().st_blocks * 512 <= 4 * PAGE
    loaded.close()


def test_what_is_loaded_can_be_mapped_privately_only(tmp_path: Path) -> None:
    ram = written(3)
    digest = ram.store(tmp_path / "ram")
    ram.close()
    loaded = RamFile.load(tmp_path / "ram", size_bytes=SIZE, digest=digest)
    before = content(loaded)
    fd = os.open(loaded.path, os.O_RDWR)
    with pytest.raises(PermissionError):
        os.pwrite(fd, b"x", 0)
    with pytest.raises(PermissionError):
        os.ftruncate(fd, 0)
    with pytest.raises(PermissionError):
        mmap.mmap(fd, SIZE)
    with mmap.mmap(fd, SIZE, flags=mmap.MAP_PRIVATE) as private:
        private[:5] = b"mine!"
    os.close(fd)
    assert content(loaded) == before
    loaded.close()


def test_a_file_that_was_changed_or_cut_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ram"
    ram = written(3, 4)
    digest = ram.store(path)
    ram.close()
    before = open_files()
    with path.open("r+b") as file:
        file.seek(4 * PAGE)
        file.write(b"!")
    with pytest.raises(CorruptRecord, match="is not what was written there"):
        RamFile.load(path, size_bytes=SIZE, digest=digest)
    os.truncate(path, SIZE - PAGE)
    with pytest.raises(CorruptRecord, match="has not the size"):
        RamFile.load(path, size_bytes=SIZE, digest=digest)
    path.unlink()
    with pytest.raises(CorruptRecord, match="No such file"):
        RamFile.load(path, size_bytes=SIZE, digest=digest)
    path.symlink_to("/dev/zero")
    with pytest.raises(CorruptRecord, match="can't be read"):
        RamFile.load(path, size_bytes=SIZE, digest=digest)
    assert open_files() == before


def test_moved_pages_are_a_change(tmp_path: Path) -> None:
    """Two pages of the same content at other places: the digest tells where."""
    digests = []
    for place in (3, 4):
        ram = RamFile.of_size(SIZE)
        with ram.path.open("r+b") as file:
            file.seek(place * PAGE)
            file.write(b"same")
        digests.append(ram.store(tmp_path / f"ram{place}"))
        ram.close()
    assert digests[0] != digests[1]


def test_a_full_disk_is_an_error_that_says_so(tmp_path: Path) -> None:
    ram = written(1)
    with pytest.raises(HostNotReady, match="can't be written"):
        ram.store(tmp_path / "missing" / "ram")
    ram.close()
