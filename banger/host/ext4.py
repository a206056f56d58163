"""Is this file an ext4 file system that a guest can boot from? Read here, never mounted.

The file may be hostile: everything read is bounded and checked before it is used. The
format: Documentation/filesystems/ext4 of the Linux source. Its numbers are little-endian.
"""

from __future__ import annotations

import os
import stat
import struct
from functools import cache
from pathlib import Path

import msgspec

from banger.kernel.errors import NotFound, UsageError
from banger.model.sizes import MIB, TIB, show_size

SUPERBLOCK_AT = 1024
SUPERBLOCK_BYTES = 1024
MAX_BYTES = 16 * TIB
FREE_BYTES_MIN = 4 * MIB
FREE_INODES_MIN = 64
"""What a guest that boots writes at least: logs, leases, its identity."""

_MAGIC = 0xEF53
_CLEAN, _ERRORS = 1, 2
_JOURNAL_DEVICE, _RECOVER, _META_BG, _EXTENTS, _64BIT = 0x8, 0x4, 0x10, 0x40, 0x80
_READ_ONLY, _METADATA_CSUM = 0x1000, 0x400
_INLINE_DATA, _ENCRYPT = 0x8000, 0x10000
# What Linux 6.1 mounts for writing, without encryption.
_INCOMPATIBLE_KNOWN = 0x2 | _RECOVER | _META_BG | _EXTENTS | _64BIT | 0x100 | 0x200 | 0x400
_INCOMPATIBLE_KNOWN |= 0x2000 | 0x4000 | _INLINE_DATA | 0x20000
_READ_ONLY_KNOWN = 0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x20 | 0x40 | 0x100 | 0x200 | _METADATA_CSUM
_READ_ONLY_KNOWN |= 0x2000 | 0x8000 | 0x10000

_OTHER_FORMATS = (
    (0, b"QFI\xfb", "a qcow2 disk"),
    (0, b"hsqs", "a squashfs"),
    (0, b"XFSB", "an XFS"),
    (0x10040, b"_BHRfS_M", "a btrfs"),
    (0, b"KDMV", "a VMDK disk"),
    (0, b"conectix", "a VHD disk"),
    (0x200, b"EFI PART", "a disk with partitions"),
    (0, b"\x1f\x8b", "compressed by gzip"),
    (0, b"\x28\xb5\x2f\xfd", "compressed by zstd"),
    (0, b"\xfd7zXZ", "compressed by xz"),
    (510, b"\x55\xaa", "a disk with a boot sector"),
)
_SNIFF_BYTES = 0x10048


class Superblock(msgspec.Struct, frozen=True):
    """What is needed of it, checked."""

    block_bytes: int
    blocks: int
    free_blocks: int
    free_inodes: int
    inodes: int
    inodes_per_group: int
    inode_bytes: int
    descriptor_bytes: int
    first_block: int
    meta_groups: bool

    @property
    def bytes(self) -> int:
        return self.blocks * self.block_bytes


def open_image(path: Path) -> int:
    """A descriptor for reading. Raises `UsageError`, `NotFound` for what is no plain file."""
    _check_path(path)
    try:
        # No link is followed, and a FIFO does not block.
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise NotFound(f"there is no file {str(path)!r} on the daemon's host") from None
    except OSError as error:
        reason = "it is a link" if path.is_symlink() else error.strerror
        raise UsageError(f"{path} can't be used: {reason}", hint="name the file itself") from None
    status = os.fstat(file)
    if not stat.S_ISREG(status.st_mode):
        os.close(file)
        raise UsageError(f"{path} is {_kind(status.st_mode)}, not a regular file")
    return file


def read_superblock(file: int, path: Path) -> Superblock:
    """The checked superblock of a file system that Linux would mount for writing.

    Raises `UsageError` with the reason for anything else.
    """
    size = os.fstat(file).st_size
    data = os.pread(file, SUPERBLOCK_BYTES, SUPERBLOCK_AT)
    if len(data) < SUPERBLOCK_BYTES or _u16(data, 0x38) != _MAGIC:
        raise UsageError(
            f"{path} is {_other_format(file, size)}, not an ext4 file system",
            hint="wanted is the raw file system, without partitions and uncompressed",
        )
    try:
        return _parse(data, size)
    except ValueError as error:
        raise UsageError(
            f"{path} is no ext4 file system to boot from: {error}",
            hint="'e2fsck -f' checks and cleans a file system that is not in use",
        ) from None


def check_room(found: Superblock, path: Path) -> None:
    """Raise `UsageError` when a guest could not even write what each boot writes."""
    free = found.free_blocks * found.block_bytes
    if free < FREE_BYTES_MIN or found.free_inodes < FREE_INODES_MIN:
        raise UsageError(
            f"{path} has no room to boot: {show_size(free)} and {found.free_inodes} inodes are "
            f"free, needed are {show_size(FREE_BYTES_MIN)} and {FREE_INODES_MIN}",
            hint="'truncate -s +1G' and 'resize2fs' enlarge a copy of it",
        )


def _check_path(path: Path) -> None:
    text = str(path)
    if not path.is_absolute() or ".." in path.parts:
        raise UsageError(f"{text!r} is not an absolute path without '..'")
    if not text.isprintable() or len(os.fsencode(path)) > 1000:
        raise UsageError(f"{text[:80]!r} has unprintable characters or is longer than 1000 bytes")


def _kind(mode: int) -> str:
    kinds = (
        (stat.S_ISDIR, "a directory"),
        (stat.S_ISFIFO, "a FIFO"),
        (stat.S_ISBLK, "a block device"),
        (stat.S_ISCHR, "a character device"),
    )
    return next((name for is_kind, name in kinds if is_kind(mode)), "a special file")


def _other_format(file: int, size: int) -> str:
    if size < SUPERBLOCK_AT + SUPERBLOCK_BYTES:
        return f"a file of {size} bytes"
    start = os.pread(file, _SNIFF_BYTES, 0)
    found = (name for at, magic, name in _OTHER_FORMATS if start[at : at + len(magic)] == magic)
    return next(found, "something else")


def _parse(data: bytes, file_bytes: int) -> Superblock:
    incompatible, read_only = struct.unpack_from("<II", data, 0x60)
    _check_features(incompatible, read_only)
    if read_only & _METADATA_CSUM and _crc32c(data[:0x3FC]) != _u32(data, 0x3FC):
        raise ValueError("its superblock is damaged (wrong checksum)")
    state = _u16(data, 0x3A)
    if state & _ERRORS:
        raise ValueError("it has errors")
    if not state & _CLEAN or incompatible & _RECOVER:
        raise ValueError("it is mounted, or was not unmounted cleanly")
    log_block = _u32(data, 0x18)
    if log_block > 6:
        raise ValueError(f"blocks of 2^{log_block + 10} bytes")
    wide = bool(incompatible & _64BIT)
    found = Superblock(
        block_bytes=1024 << log_block,
        blocks=_u32(data, 0x4) | (_u32(data, 0x150) << 32 if wide else 0),
        free_blocks=_u32(data, 0xC) | (_u32(data, 0x158) << 32 if wide else 0),
        free_inodes=_u32(data, 0x10),
        inodes=_u32(data, 0x0),
        inodes_per_group=_u32(data, 0x28),
        inode_bytes=_u16(data, 0x58),
        descriptor_bytes=_u16(data, 0xFE) if wide else 32,
        first_block=_u32(data, 0x14),
        meta_groups=bool(incompatible & _META_BG),
    )
    if not 0 < found.bytes <= MAX_BYTES or file_bytes > MAX_BYTES:
        raise ValueError(f"{found.bytes} bytes large in a file of {file_bytes}")
    if found.bytes > file_bytes:
        raise ValueError(f"it has {found.bytes} bytes, the file only {file_bytes}")
    if (
        found.free_blocks > found.blocks
        or found.free_inodes > found.inodes
        or not 0 < found.inodes_per_group <= found.block_bytes * 8
        or found.inodes == 0
        or found.first_block != (log_block == 0)
        or found.descriptor_bytes not in (32, 64, 128, 256, 512, 1024)
        or found.inode_bytes not in (128, 256, 512, 1024, 2048, 4096)
        or found.inode_bytes > found.block_bytes
    ):
        raise ValueError("its superblock contradicts itself")
    return found


def _check_features(incompatible: int, read_only: int) -> None:
    if incompatible & _JOURNAL_DEVICE:
        raise ValueError("it is a journal device")
    if incompatible & _ENCRYPT:
        raise ValueError("it is encrypted")
    if not incompatible & _EXTENTS:
        raise ValueError("it is ext2 or ext3")
    unknown = incompatible & ~_INCOMPATIBLE_KNOWN | read_only & ~_READ_ONLY_KNOWN
    if read_only & _READ_ONLY:
        raise ValueError("it is marked as read-only for ever")
    if unknown:
        raise ValueError(f"it has features that are not known here ({unknown:#x})")


def _u16(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "little")


def _u32(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little")


@cache
def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return tuple(table)


def _crc32c(data: bytes) -> int:
    """As ext4 has it: begun with all ones, not inverted at the end."""
    table, value = _crc_table(), 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ table[(value ^ byte) & 0xFF]
    return value
