"""Looks files up in an ext4 file system that is not mounted: an init, /etc/os-release.

Reads extents, linear and hashed directories, links. The file may be hostile: what does
not add up is a `ValueError`, and how much is read for one look-up is bounded.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator

import msgspec

from banger.host import ext4_xattr
from banger.host.ext4 import Superblock

ROOT_INODE = 2
LINKS_MAX = 40
DIRECTORY_BYTES_MAX = 4 << 20
DEPTH_MAX = 5
READ_BYTES_MAX = 256 << 20

_EXTENTS_FLAG, _INLINE_DATA_FLAG = 0x80000, 0x10000000
_EXTENT_MAGIC = 0xF30A
_CHUNK_BYTES = 1 << 20
_UNWRITTEN_ABOVE = 32768
_I_BLOCK = slice(0x28, 0x64)

INITS = ("/sbin/init", "/lib/systemd/systemd", "/etc/init", "/bin/init")
"""What the guest agent hands over to: the first of these that can be executed."""


class Inode(msgspec.Struct, frozen=True):
    number: int
    mode: int
    size: int
    flags: int
    uid: int
    gid: int
    i_block: bytes
    """Root of the extent tree, or a short link's target."""


class Tree:
    """The files of one file system; ``file`` is a descriptor of it."""

    def __init__(self, file: int, superblock: Superblock) -> None:
        self._file = file
        self._super = superblock
        self._read_bytes = 0

    def find(self, path: str) -> Inode | None:
        """The file at an absolute path, links followed; None when there is none."""
        inode, parts, links = self._inode(ROOT_INODE), _split(path), 0
        parents: list[Inode] = []
        while parts:
            part = parts.pop(0)
            if part == "..":
                inode = parents.pop() if parents else inode
                continue
            number = self._entry(inode, part.encode(errors="surrogateescape"))
            if number is None:
                return None
            child = self._inode(number)
            if not stat.S_ISLNK(child.mode):
                parents.append(inode)
                inode = child
                continue
            links += 1
            if links > LINKS_MAX:
                raise ValueError(f"{path} is a loop of links")
            target = self.target(child).decode(errors="surrogateescape")
            if target.startswith("/"):
                inode, parents = self._inode(ROOT_INODE), []
            parts[:0] = _split(target)
        return inode

    def read(self, inode: Inode, limit: int) -> bytes:
        """The first bytes of a regular file."""
        wanted = min(inode.size, limit)
        data = bytearray(wanted)
        for logical, physical, count in self._extents(inode):
            at = logical * self._super.block_bytes
            if at < wanted:
                size = min(count * self._super.block_bytes, wanted - at)
                data[at : at + size] = self._read(physical * self._super.block_bytes, size)
        return bytes(data)

    def copy(self, inode: Inode, target: int) -> None:
        """All of a regular file into an empty one, by descriptor. Holes stay holes."""
        copied = 0
        for logical, physical, count in self._extents(inode):
            at = logical * self._super.block_bytes
            size = min(count * self._super.block_bytes, inode.size - at)
            if size <= 0:
                continue
            copied += size
            if copied > inode.size:
                raise ValueError("a file whose parts overlap")
            self._copy(physical * self._super.block_bytes, size, target, at)
        os.ftruncate(target, inode.size)

    def attributes(self, inode: Inode) -> dict[str, bytes]:
        """Extended attributes by name: user, trusted, security, access control lists."""
        data = self._read(self._place(inode.number), self._super.inode_bytes)
        found = dict(ext4_xattr.of_inode(data))
        (low,) = struct.unpack_from("<I", data, 0x68)
        (high,) = struct.unpack_from("<H", data, 0x76)
        if block := low | high << 32:
            size = self._super.block_bytes
            found |= dict(ext4_xattr.of_block(self._read(block * size, size)))
        return found

    def entries(self, directory: Inode) -> Iterator[tuple[bytes, Inode]]:
        """What is in a directory, without itself and its parent."""
        for name, number in self._names(directory):
            if name not in (b".", b".."):
                yield name, self._inode(number)

    def target(self, link: Inode) -> bytes:
        """What a link says, of at most 4095 bytes."""
        if not 0 < link.size < 4096:
            raise ValueError(f"a link of {link.size} bytes")
        short = link.size < 60 and not link.flags & _EXTENTS_FLAG
        return link.i_block[: link.size] if short else self.read(link, link.size)

    def _entry(self, directory: Inode, name: bytes) -> int | None:
        if not stat.S_ISDIR(directory.mode):
            return None
        return next((number for found, number in self._names(directory) if found == name), None)

    def _names(self, directory: Inode) -> Iterator[tuple[bytes, int]]:
        if directory.size > DIRECTORY_BYTES_MAX:
            raise ValueError(f"a directory of {directory.size} bytes")
        # Blocks of a hashed directory's index look like one empty entry.
        data, at = self.read(directory, directory.size), 0
        while at + 8 <= len(data):
            number, length, name_length = struct.unpack_from("<IHB", data, at)
            if length < 8 or length % 4 or at + length > len(data):
                raise ValueError("a damaged directory")
            if number:
                yield data[at + 8 : at + 8 + min(name_length, length - 8)], int(number)
            at += length

    def _place(self, number: int) -> int:
        """Where an inode begins."""
        sb = self._super
        if not 0 < number <= sb.inodes:
            raise ValueError(f"inode {number} of {sb.inodes}")
        if sb.meta_groups:
            raise ValueError("it has meta block groups, which are not read here")
        group, index = divmod(number - 1, sb.inodes_per_group)
        at = (sb.first_block + 1) * sb.block_bytes + group * sb.descriptor_bytes
        descriptor = self._read(at, sb.descriptor_bytes)
        (table,) = struct.unpack_from("<I", descriptor, 0x8)
        if sb.descriptor_bytes >= 64:
            table |= struct.unpack_from("<I", descriptor, 0x28)[0] << 32
        return int(table * sb.block_bytes + index * sb.inode_bytes)

    def _inode(self, number: int) -> Inode:
        data = self._read(self._place(number), 128)
        mode, uid, size = struct.unpack_from("<HHI", data)
        (gid,) = struct.unpack_from("<H", data, 0x18)
        uid_high, gid_high = struct.unpack_from("<HH", data, 0x78)
        (flags,) = struct.unpack_from("<I", data, 0x20)
        (size_high,) = struct.unpack_from("<I", data, 0x6C)
        if flags & _INLINE_DATA_FLAG:
            raise ValueError("it has inline data, which is not read here")
        return Inode(
            number,
            mode,
            size | size_high << 32,
            flags,
            uid | uid_high << 16,
            gid | gid_high << 16,
            data[_I_BLOCK],
        )

    def _extents(self, inode: Inode) -> Iterator[tuple[int, int, int]]:
        """Logical block, physical block, number of blocks."""
        if not inode.flags & _EXTENTS_FLAG:
            raise ValueError("a file without extents")
        yield from self._node(inode.i_block, DEPTH_MAX)

    def _node(self, data: bytes, depth_left: int) -> Iterator[tuple[int, int, int]]:
        magic, entries, _, depth = struct.unpack_from("<HHHH", data)
        if magic != _EXTENT_MAGIC or depth >= depth_left or 12 + 12 * entries > len(data):
            raise ValueError("a damaged extent tree")
        for number in range(entries):
            at = 12 + 12 * number
            if depth:
                _, low, high = struct.unpack_from("<IIH", data, at)
                block = (low | high << 32) * self._super.block_bytes
                yield from self._node(self._read(block, self._super.block_bytes), depth)
                continue
            logical, count, high, low = struct.unpack_from("<IHHI", data, at)
            if count <= _UNWRITTEN_ABOVE:
                yield logical, low | high << 32, count

    def _copy(self, at: int, size: int, target: int, to: int) -> None:
        if at + size > self._super.bytes:
            raise ValueError("its structures lead nowhere")
        for done in range(0, size, _CHUNK_BYTES):
            wanted = min(_CHUNK_BYTES, size - done)
            data = os.pread(self._file, wanted, at + done)
            if len(data) != wanted:
                raise ValueError("it ends too early")
            rest = memoryview(data)
            while rest:
                rest = rest[os.pwrite(target, rest, to + done + wanted - len(rest)) :]

    def _read(self, at: int, size: int) -> bytes:
        self._read_bytes += size
        if self._read_bytes > READ_BYTES_MAX or at + size > self._super.bytes:
            raise ValueError("its structures lead nowhere")
        data = os.pread(self._file, size, at)
        if len(data) != size:
            raise ValueError("it ends too early")
        return data


def find_init(tree: Tree) -> str | None:
    """The path of the program that a guest's first process becomes."""
    for path in INITS:
        found = tree.find(path)
        if found is not None and stat.S_ISREG(found.mode) and found.mode & 0o111:
            return path
    return None


def distribution(tree: Tree) -> str:
    """What /etc/os-release calls the system, or "unknown"."""
    found = tree.find("/etc/os-release")
    if found is None or not stat.S_ISREG(found.mode):
        return "unknown"
    for line in tree.read(found, 1 << 14).decode(errors="replace").splitlines():
        name, _, value = line.partition("=")
        value = value.strip().strip("\"'")
        if name == "PRETTY_NAME" and value:
            return "".join(c if c.isprintable() else "?" for c in value[:80])
    return "unknown"


def _split(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]
