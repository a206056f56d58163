"""A guest's memory as a file: in memory while machines use it, sparse on disk.

In memory it is a memfd, sealed once it is filled: whoever is handed it can map it only
privately, so that no machine can change what others see. It lives as long as somebody has it
open. Source: memfd_create(2), "File sealing" in fcntl(2).
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import mmap
import os
from collections.abc import Iterator
from pathlib import Path

from banger.kernel.errors import CorruptRecord, HostNotReady

NAME = "banger-ram"
"""What it is called in the maps of those that have mapped it."""
PAGE = mmap.PAGESIZE
_ZERO = bytes(PAGE)
_PIECE_BYTES = 4 << 20
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


class RamFile:
    """A guest's memory in the host's. `path` is good within this process until `close`."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    @classmethod
    def of_size(cls, size_bytes: int) -> RamFile:
        """Empty, for a machine that shares it to write to."""
        fd = os.memfd_create(NAME, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(fd, size_bytes)
        return cls(fd)

    @classmethod
    def load(cls, path: Path, *, size_bytes: int, digest: str) -> RamFile:
        """What `store` has written, sealed. Raises `CorruptRecord` when it is anything else."""
        ram = cls.of_size(size_bytes)
        try:
            if ram._fill(path, size_bytes) != digest:
                raise CorruptRecord(f"{path} is not what was written there")
            ram.seal()
        except BaseException:
            ram.close()
            raise
        return ram

    @property
    def path(self) -> Path:
        return Path(f"/proc/self/fd/{self._fd}")

    @property
    def allocated_bytes(self) -> int:
        return os.fstat(self._fd).st_blocks * 512

    def copy(self, source: int) -> None:
        """All data of another file that is as large, without its holes."""
        for at, end in _extents(source):
            os.lseek(self._fd, at, os.SEEK_SET)
            while at < end:
                at += os.sendfile(self._fd, source, at, end - at)

    def write(self, data: bytes, offset: int) -> None:
        _write(self._fd, data, offset)

    def seal(self) -> None:
        """From now on nobody can change it."""
        fcntl.fcntl(self._fd, fcntl.F_ADD_SEALS, _SEALS)

    def __del__(self) -> None:
        # One in a reply is lost with whoever asked.
        self.close()

    def close(self) -> None:
        """Idempotent. Machines that have it open keep it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def store(self, path: Path) -> str:
        """Write a new sparse file of the same content, synced; its digest.

        Raises `HostNotReady`, say for a full disk, and leaves what was written so far.
        """
        size, digest = os.fstat(self._fd).st_size, _Digest()
        try:
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                os.ftruncate(file, size)
                for offset, data in _runs(_pieces(self._fd), digest):
                    _write(file, data, offset)
                os.fsync(file)
            finally:
                os.close(file)
        except OSError as error:
            hint = "is the disk full?" if error.errno == errno.ENOSPC else ""
            raise HostNotReady(f"{path} can't be written: {error.strerror}", hint=hint) from None
        return digest.text

    def _fill(self, path: Path, size: int) -> str:
        digest = _Digest()
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                if os.fstat(file).st_size != size:
                    raise CorruptRecord(f"{path} has not the size of {size} bytes that it had")
                for offset, data in _runs(_pieces(file), digest):
                    _write(self._fd, data, offset)
            finally:
                os.close(file)
        except OSError as error:
            raise CorruptRecord(f"{path} can't be read: {error.strerror}") from None
        return digest.text


class _Digest:
    """Of the pages that are not zero, with their places: holes or zeros make no difference."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=32)

    def add(self, offset: int, page: bytes) -> None:
        self._hash.update(offset.to_bytes(8))
        self._hash.update(page)

    @property
    def text(self) -> str:
        return self._hash.hexdigest()


def _extents(file: int) -> Iterator[tuple[int, int]]:
    """Where the file has data, from and to, without its holes."""
    at, size = 0, os.fstat(file).st_size
    while at < size:
        try:
            at = os.lseek(file, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole follows
                return
            raise
        end = os.lseek(file, at, os.SEEK_HOLE)
        yield at, end
        at = end


def _pieces(file: int) -> Iterator[tuple[int, bytes]]:
    """All data of the file with their offsets, without its holes."""
    for start, end in _extents(file):
        at = start
        while at < end:
            data = os.pread(file, min(_PIECE_BYTES, end - at), at)
            if not data:
                return
            yield at, data
            at += len(data)


def _runs(pieces: Iterator[tuple[int, bytes]], digest: _Digest) -> Iterator[tuple[int, bytes]]:
    """The pages that are not zero, neighbours in one; the digest is told of each."""
    for start, data in pieces:
        begun: int | None = None
        for at in range(0, len(data), PAGE):
            page = data[at : at + PAGE]
            if page != _ZERO:
                digest.add(start + at, page)
                begun = at if begun is None else begun
            elif begun is not None:
                yield start + begun, data[begun:at]
                begun = None
        if begun is not None:
            yield start + begun, data[begun:]


def _write(file: int, data: bytes, offset: int) -> None:
    while data:
        written = os.pwrite(file, data, offset)
        data, offset = data[written:], offset + written
