"""Giving back memory of another process that it does not need for now."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path

_PROCESS_MADVISE = 440
"""The number of process_madvise(2), the same on all architectures but alpha."""
_MADV_PAGEOUT = 21

_libc = ctypes.CDLL(None, use_errno=True)
_mapping = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) \S+ \S+ \S+ \d+ +(/.*)$", re.MULTILINE)


class _Range(ctypes.Structure):
    """``struct iovec``."""

    _fields_ = (("start", ctypes.c_void_p), ("length", ctypes.c_size_t))


def page_out(pidfd: int, pid: int, name: str) -> bool:
    """Let the process's mappings of files of this name go; it reads them anew if need be.

    Pages that other processes map too stay. False when the kernel or our rights don't
    allow it: then nothing has changed.
    """
    try:
        maps = Path(f"/proc/{pid}/maps").read_text()
    except (OSError, UnicodeDecodeError):
        return False
    ranges = [
        _Range(int(start, 16), int(end, 16) - int(start, 16))
        for start, end, path in _mapping.findall(maps)
        if Path(path).name == name
    ]
    if not ranges:
        return False
    vector = (_Range * len(ranges))(*ranges)
    return int(_libc.syscall(_PROCESS_MADVISE, pidfd, vector, len(ranges), _MADV_PAGEOUT, 0)) >= 0
