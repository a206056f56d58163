"""tar archives that leave out the holes of files, written as a stream.

A file with holes is stored as GNU tar does ("PAX, sparse format 1.0"): a map of its data at
the start of its content. GNU tar and Python's tarfile read it. Source: the section "Storing
Sparse Files" of GNU tar's manual.
"""

from __future__ import annotations

import errno
import os
import stat
import tarfile
from collections.abc import Iterator

import msgspec

from banger.kernel.errors import HostNotReady

CHUNK_BYTES = 256 << 10

_BLOCK = tarfile.BLOCKSIZE


class Member(msgspec.Struct, frozen=True):
    """A file to archive: a descriptor that stays open, or its content."""

    name: str
    content: int | bytes
    mtime: int


class Extent(msgspec.Struct, frozen=True):
    """A part of a file that is no hole."""

    at: int
    size: int


def size_of(members: list[Member]) -> int:
    """The archive's size, but for the headers."""
    return sum(
        len(member.content)
        if isinstance(member.content, bytes)
        else sum(extent.size for extent in extents(member.content))
        for member in members
    )


def archive(members: list[Member]) -> Iterator[bytes]:
    """The archive in pieces of some 100 KiB, none of them empty. Raises `HostNotReady`, OSError."""
    for member in members:
        if isinstance(member.content, bytes):
            yield _header(member, len(member.content), {}) + _padded(member.content)
        else:
            yield from _stored(member, member.content)
    yield bytes(2 * _BLOCK)


def _stored(member: Member, file: int) -> Iterator[bytes]:
    size = os.fstat(file).st_size
    found = extents(file)
    stored = sum(extent.size for extent in found)
    if stored == size:
        yield _header(member, size, {})
        yield from _data(member, file, found)
    else:
        # The map ends where the file does, also when that is a hole.
        mapped = [*found, Extent(size, 0)]
        numbers = [len(mapped), *(n for extent in mapped for n in (extent.at, extent.size))]
        table = _padded("".join(f"{number}\n" for number in numbers).encode())
        about = {
            "GNU.sparse.major": "1",
            "GNU.sparse.minor": "0",
            "GNU.sparse.name": member.name,
            "GNU.sparse.realsize": str(size),
        }
        yield _header(member, len(table) + stored, about) + table
        yield from _data(member, file, found)
    if stored % _BLOCK:
        yield bytes(-stored % _BLOCK)


def _data(member: Member, file: int, parts: list[Extent]) -> Iterator[bytes]:
    for extent in parts:
        at, end = extent.at, extent.at + extent.size
        while at < end:
            data = os.pread(file, min(CHUNK_BYTES, end - at), at)
            if not data:
                raise HostNotReady(f"{member.name} shrank while it was read")
            at += len(data)
            yield data


def extents(file: int) -> list[Extent]:
    """Where the file has data (lseek(2), SEEK_DATA)."""
    size = os.fstat(file).st_size
    found, at = [], 0
    while at < size:
        try:
            begin = os.lseek(file, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole is left
                break
            raise
        at = min(os.lseek(file, begin, os.SEEK_HOLE), size)
        found.append(Extent(begin, at - begin))
    return found


def _header(member: Member, size: int, about: dict[str, str]) -> bytes:
    info = tarfile.TarInfo(member.name)
    info.size, info.mtime, info.mode = size, member.mtime, stat.S_IRUSR | stat.S_IWUSR
    info.pax_headers = about
    return info.tobuf(tarfile.PAX_FORMAT)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % _BLOCK)
