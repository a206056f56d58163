"""cpio archives in the ``newc`` format, and initramfs files made of several of them.

Linux unpacks what is concatenated in an initramfs one after the other, plain or
compressed, each starting at a multiple of 4 bytes; a file that comes again replaces the
earlier one. The formats: cpio(5), and Linux Documentation/driver-api/early-userspace/
buffer-format.rst.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from banger.kernel.errors import HostNotReady, NotFound, UsageError

_MAGIC = "070701"
_TRAILER = "TRAILER!!!"
_FIELD_ALIGNMENT = 4
_ARCHIVE_ALIGNMENT = 512
_MAX_FIELD = 0xFFFF_FFFF
# Linux PATH_MAX, with the NUL: init/initramfs.c silently skips what is longer.
_MAX_PATH_BYTES = 4095


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file of an archive.

    ``path`` is relative to the root and plain (no ``.``, ``..`` or empty part). ``mode``
    holds type and permissions, as in ``stat.S_IFREG | 0o644``. ``data`` is a regular
    file's content or a symbolic link's target. ``device`` is (major, minor) of a
    character or block device. Times are 0: the same entries make the same bytes.
    """

    path: str
    mode: int
    data: bytes = b""
    uid: int = 0
    gid: int = 0
    device: tuple[int, int] = (0, 0)


def archive(entries: Iterable[Entry]) -> bytes:
    """The archive of *entries*, in their order, padded with NULs to 512 bytes.

    The kernel makes no parent directories and says nothing when one is missing: give
    them first, unless an earlier archive of the initramfs has them.

    Raises UsageError naming the entry whose path, type or content can't be written, that
    comes twice, or that stands before its parent directory.
    """
    entries = list(entries)
    for problem in _problems(entries):
        raise UsageError(problem)
    parts = [
        _record(
            number,
            entry.path.encode(errors="surrogateescape"),
            mode=entry.mode,
            uid=entry.uid,
            gid=entry.gid,
            links=2 if stat.S_ISDIR(entry.mode) else 1,
            device=entry.device,
            data=entry.data,
        )
        for number, entry in enumerate(entries, start=1)
    ]
    parts.append(_record(0, _TRAILER.encode(), links=1))
    whole = b"".join(parts)
    return whole + bytes(-len(whole) % _ARCHIVE_ALIGNMENT)


def assemble_initramfs(out: Path, parts: Sequence[Path | bytes]) -> None:
    """Write *parts* (files or archives in memory) one after the other to *out*, mode 0600.

    Each part starts at a multiple of 4 bytes. *out* appears, or is replaced, at once and
    complete; it is not synced, as it can be made again. Files are copied in the kernel.
    Use a new name where time counts: ext4 flushes a file that replaces another (10 ms and
    more), which does not happen for a new one.

    Raises NotFound for a part that is missing, HostNotReady for one that shrank while it
    was read or (say, for a full disk) after removing the partial file.
    """
    temporary = out.with_name(f".{out.name}.{secrets.token_hex(4)}")
    try:
        target = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            for part in parts:
                copied = _write(target, part) if isinstance(part, bytes) else _copy(target, part)
                _write(target, bytes(-copied % _FIELD_ALIGNMENT))
            temporary.rename(out)
        except BaseException:
            temporary.unlink()
            raise
        finally:
            os.close(target)
    except OSError as error:
        raise HostNotReady(f"can't write initramfs {out}: {error.strerror}") from error


def _problems(entries: Sequence[Entry]) -> Iterable[str]:
    paths = {entry.path for entry in entries}
    seen: set[str] = set()
    for entry in entries:
        path, mode = entry.path, entry.mode
        if any(part in ("", ".", "..") for part in path.split("/")) or "\0" in path:
            yield f"cpio path {path!r} is not plain and relative"
        if len(path.encode(errors="surrogateescape")) > _MAX_PATH_BYTES:
            yield f"cpio path of over {_MAX_PATH_BYTES} bytes: {path[:64]!r}…"
        if path == _TRAILER:
            yield f"cpio path {path!r} marks an archive's end"
        if path in seen:
            yield f"cpio path {path!r} comes twice"
        parent = path.rpartition("/")[0]
        if parent in paths and parent not in seen:
            yield f"cpio path {path!r} stands before its directory"
        seen.add(path)
        device = stat.S_ISCHR(mode) or stat.S_ISBLK(mode)
        content = stat.S_ISREG(mode) or stat.S_ISLNK(mode)
        if not (device or content or stat.S_ISDIR(mode)) or mode > 0o177777:
            yield f"cpio entry {path!r} has the unsupported mode {mode:#o}"
        if entry.data and not content:
            yield f"cpio entry {path!r} can't have content"
        if entry.device != (0, 0) and not device:
            yield f"cpio entry {path!r} is not a device"
        if stat.S_ISLNK(mode) and not 0 < len(entry.data) <= _MAX_PATH_BYTES:
            yield f"cpio link {path!r} has a target of {len(entry.data)} bytes"
        for number in (entry.uid, entry.gid, *entry.device, len(entry.data)):
            if not 0 <= number <= _MAX_FIELD:
                yield f"cpio entry {path!r} has {number} where 32 bits must do"


def _record(
    inode: int,
    path: bytes,
    *,
    mode: int = 0,
    uid: int = 0,
    gid: int = 0,
    links: int,
    device: tuple[int, int] = (0, 0),
    data: bytes = b"",
) -> bytes:
    # inode, mode, uid, gid, links, mtime, size, device the file is on, device the file
    # is, path's length with its NUL, checksum (unused in this variant)
    fields = (inode, mode, uid, gid, links, 0, len(data), 0, 0, *device, len(path) + 1, 0)
    head = (_MAGIC + "".join(f"{field:08x}" for field in fields)).encode() + path + b"\0"
    return _padded(head) + _padded(data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % _FIELD_ALIGNMENT)


def _copy(target: int, part: Path) -> int:
    try:
        source = os.open(part, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise NotFound(f"no initramfs part {part}") from error
    try:
        found = os.fstat(source)
        if not stat.S_ISREG(found.st_mode):
            raise UsageError(f"initramfs part {part} is not a regular file")
        left = found.st_size
        while left:
            copied = os.sendfile(target, source, found.st_size - left, left)
            if not copied:
                raise HostNotReady(f"initramfs part {part} shrank while it was read")
            left -= copied
        return found.st_size
    finally:
        os.close(source)


def _write(target: int, data: bytes) -> int:
    left = memoryview(data)
    while left:
        left = left[os.write(target, left) :]
    return len(data)
