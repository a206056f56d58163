"""The memory of a running guest, as its VMM sees it: a private mapping of a `RamFile`.

What the guest has written is pages of the VMM's own; all others are still the file's. Source:
Documentation/admin-guide/mm/pagemap.rst and "/proc/pid/mem" in proc(5).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from banger.host import process
from banger.host.ram_file import NAME, PAGE, RamFile
from banger.kernel.errors import VmmError
from banger.model.process import ProcessIdentity

_PIECE_BYTES = 1 << 20
_mapping = re.compile(
    rf"^([0-9a-f]+)-([0-9a-f]+) rw-p ([0-9a-f]+) \S+ (\d+) +/memfd:{NAME} \(deleted\)$",
    re.MULTILINE,
)
_own_pages = re.compile(rb"[\x80-\x9f\xc0-\xdf\x40-\x5f]+")
"""Of the highest bytes of pagemap's entries: those that are in memory or swapped out (bits 63 and
62), and no file's (bit 61)."""


class GuestMemory:
    """Everything here blocks."""

    def __init__(self, base: int, pages: int, memory: int, start: int, size: int) -> None:
        """Three descriptors, which are its own then: of the file, of the VMM's page map, and of
        its memory; and where the guest's is in that."""
        self._base = base
        self._pages = pages
        self._memory = memory
        self._start = start
        self._size = size

    @classmethod
    def of(cls, identity: ProcessIdentity) -> GuestMemory | None:
        """None when it can't be read: it is no such mapping, or our rights don't allow it."""
        proc = Path(f"/proc/{identity.pid}")
        opened: list[int] = []
        try:
            found = _mapping.findall((proc / "maps").read_text())
            if len(found) != 1:
                return None
            start, end, offset, inode = found[0]
            opened.append(_open_inode(proc / "fd", int(inode)))
            opened += [os.open(proc / name, os.O_RDONLY) for name in ("pagemap", "mem")]
            size = int(end, 16) - int(start, 16)
            whole = int(offset, 16) == 0 and os.fstat(opened[0]).st_size == size
            # Compared last: what was opened is this process's then.
            if whole and process.identify(identity.pid) == identity:
                base, pages, memory = opened
                opened = []
                return cls(base, pages, memory, int(start, 16), size)
        except OSError:
            pass
        finally:
            for fd in opened:
                os.close(fd)
        return None

    def __enter__(self) -> GuestMemory:
        return self

    def __exit__(self, *_: object) -> None:
        for fd in (self._base, self._pages, self._memory):
            os.close(fd)

    def copy_file(self, ram: RamFile) -> None:
        """What the mapping began as, which never changes."""
        ram.copy(self._base)

    def own_bytes(self) -> int:
        """How much `copy_own` would copy now. Raises as that."""
        return sum(end - at for at, end in self._own())

    def copy_own(self, ram: RamFile) -> None:
        """What differs from that, as it is now. Raises `VmmError` when the VMM has ended."""
        for start, end in self._own():
            at = start
            while at < end:
                data = _read(self._memory, min(_PIECE_BYTES, end - at), self._start + at)
                ram.write(data, at)
                at += len(data)

    def _own(self) -> Iterator[tuple[int, int]]:
        """From and to, in the guest's memory."""
        entry = 8
        length = self._size // PAGE * entry
        pages = _read(self._pages, length, self._start // PAGE * entry)
        if len(pages) < length:
            raise VmmError("the VMM's page map ends before the guest's memory")
        for run in _own_pages.finditer(pages[entry - 1 :: entry]):
            yield run.start() * PAGE, run.end() * PAGE


def _read(fd: int, length: int, offset: int) -> bytes:
    """At least one byte: of a process that has ended nothing is there to be read."""
    try:
        data = os.pread(fd, length, offset)
    except OSError as error:
        raise VmmError(f"the VMM's memory can't be read: {error.strerror}") from None
    if not data:
        raise VmmError("the VMM ended while its guest's memory was read")
    return data


def _open_inode(fds: Path, inode: int) -> int:
    """One of the descriptors in the directory, opened anew."""
    for fd in fds.iterdir():
        if fd.stat().st_ino == inode and NAME in fd.readlink().name:
            return os.open(fd, os.O_RDONLY | os.O_CLOEXEC)
    raise FileNotFoundError(f"{fds} has no inode {inode}")
