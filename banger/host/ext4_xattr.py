"""Extended attributes of ext4, as they lie in inodes and attribute blocks.

The format is that of Linux, fs/ext4/xattr.h. What does not add up is a `ValueError`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

MAGIC = 0xEA020000
BLOCK_HEADER_BYTES = 32
_ENTRY = struct.Struct("<BBHIII")
_PREFIXES = {1: "user.", 4: "trusted.", 6: "security."}
"""By their number."""
_ACCESS_LISTS = {2: "system.posix_acl_access", 3: "system.posix_acl_default"}
_ACL_DISK_VERSION, _ACL_VERSION = 1, 2
_ACL_WITH_ID = (2, 8)
"""Entries for a named user or group."""
_NO_ID = 0xFFFFFFFF


def of_inode(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Those inside of a whole inode."""
    if len(data) <= 132:
        return
    (extra,) = struct.unpack_from("<H", data, 128)
    begin = 128 + extra
    if begin + 8 > len(data) or struct.unpack_from("<I", data, begin) != (MAGIC,):
        return
    yield from _entries(data[begin + 4 :], 0)


def of_block(data: bytes) -> Iterator[tuple[str, bytes]]:
    if struct.unpack_from("<I", data) != (MAGIC,):
        raise ValueError("a damaged block of attributes")
    yield from _entries(data, BLOCK_HEADER_BYTES)


def _entries(data: bytes, at: int) -> Iterator[tuple[str, bytes]]:
    while at + 4 <= len(data) and data[at : at + 4] != bytes(4):
        if at + _ENTRY.size > len(data):
            raise ValueError("a damaged attribute")
        length, kind, offset, inode, size, _ = _ENTRY.unpack_from(data, at)
        name = data[at + _ENTRY.size : at + _ENTRY.size + length]
        if inode or len(name) != length or offset + size > len(data):
            raise ValueError("a damaged attribute, or one with an inode of its own")
        value = data[offset : offset + size]
        if kind in _PREFIXES and name and b"\0" not in name:
            yield _PREFIXES[kind] + name.decode(errors="surrogateescape"), value
        elif kind in _ACCESS_LISTS and not name:
            yield _ACCESS_LISTS[kind], _access_list(value)
        at += (_ENTRY.size + length + 3) & ~3


def _access_list(value: bytes) -> bytes:
    """From its form on disk, fs/ext4/acl.h, to that of programs, linux/posix_acl_xattr.h."""
    if len(value) < 4 or struct.unpack_from("<I", value) != (_ACL_DISK_VERSION,):
        raise ValueError("a damaged access control list")
    found, at = [struct.pack("<I", _ACL_VERSION)], 4
    while at < len(value):
        form = "<HHI" if value[at] in _ACL_WITH_ID else "<HH"
        if at + struct.calcsize(form) > len(value):
            raise ValueError("a damaged access control list")
        entry = struct.unpack_from(form, value, at)
        found.append(struct.pack("<HHI", *entry[:2], entry[2] if len(entry) > 2 else _NO_ID))
        at += struct.calcsize(form)
    return b"".join(found)
