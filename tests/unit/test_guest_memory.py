"""What another process sees of a file of memory that it has mapped privately."""

from __future__ import annotations

import mmap
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import pytest

from banger.host import process
from banger.host.guest_memory import GuestMemory
from banger.host.ram_file import RamFile
from banger.kernel.errors import VmmError
from banger.model.process import ProcessIdentity

SIZE = 8 << 20
PAGE = mmap.PAGESIZE

VMM = """
import mmap, os, sys
size, share = int(sys.argv[2]), sys.argv[3]
file = os.open(f"/proc/self/fd/{sys.argv[1]}", os.O_RDWR)
memory = mmap.mmap(file, size, flags=mmap.MAP_SHARED if share == "shared" else mmap.MAP_PRIVATE)
for line in sys.stdin:
    number, letter = line.split()
    at = int(number) * mmap.PAGESIZE
    memory[at] = ord(letter)
    print(memory[at + 1], flush=True)
"""
"""Writes letters into pages, as it is told."""


@contextmanager
def vmm(ram: RamFile, share: str = "private") -> Iterator[subprocess.Popen[str]]:
    fd = int(ram.path.name)
    child = subprocess.Popen(
        [sys.executable, "-c", VMM, str(fd), str(SIZE), share],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        pass_fds=[fd],
    )
    try:
        yield child
    finally:
        child.communicate()


def write(child: subprocess.Popen[str], page: int, letter: str) -> None:
    assert child.stdin and child.stdout
    child.stdin.write(f"{page} {letter}\n")
    child.stdin.flush()
    assert child.stdout.readline()


def identity(child: subprocess.Popen[str]) -> ProcessIdentity:
    found = process.identify(child.pid)
    assert found is not None
    return found


@pytest.fixture
def base() -> Iterator[RamFile]:
    """With something in some pages, sealed."""
    ram = RamFile.of_size(SIZE)
    for page in (0, 5, 6, SIZE // PAGE - 1):
        ram.write(b"base" * (PAGE // 4), page * PAGE)
    ram.seal()
    yield ram
    ram.close()


def test_a_copy_is_what_it_sees(base: RamFile) -> None:
    before = base.path.read_bytes()
    expected = bytearray(before)
    copy = RamFile.of_size(SIZE)
    with vmm(base) as child:
        write(child, 5, "a")
        found = GuestMemory.of(identity(child))
        assert found is not None
        with found as memory:
            memory.copy_file(copy)
            memory.copy_own(copy)
            # What it writes later, into pages of either kind, comes with the next look.
            for page, letter in ((5, "b"), (700, "c"), (701, "d"), (SIZE // PAGE - 1, "e")):
                write(child, page, letter)
                expected[page * PAGE] = ord(letter)
            assert memory.own_bytes() == 4 * PAGE
            memory.copy_own(copy)
    copy.seal()
    assert copy.path.read_bytes() == bytes(expected)
    # Holes stay holes, and nobody else's memory has changed.
    assert copy.allocated_bytes < 10 * PAGE
    assert base.path.read_bytes() == before
    copy.close()


def test_of_one_that_has_ended_nothing_is_copied(base: RamFile) -> None:
    """Its memory is gone: that must be said, not be waited for."""
    copy = RamFile.of_size(SIZE)
    with vmm(base) as child:
        write(child, 5, "a")
        found = GuestMemory.of(identity(child))
    assert found is not None
    with found as memory:
        with pytest.raises(VmmError, match="ended while"):
            memory.own_bytes()
        with pytest.raises(VmmError, match="ended while"):
            memory.copy_own(copy)
    copy.close()


def test_what_can_not_be_copied(base: RamFile) -> None:
    ram = RamFile.of_size(SIZE)
    with vmm(ram, "shared") as child:
        write(child, 1, "a")
        assert GuestMemory.of(identity(child)) is None
    ram.close()
    with vmm(base) as child:
        write(child, 1, "a")
        mine = identity(child)
        other = msgspec.structs.replace(mine, start_ticks=mine.start_ticks + 1)
        assert GuestMemory.of(other) is None
    assert GuestMemory.of(mine) is None
