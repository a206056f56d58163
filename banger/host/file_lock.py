"""A lock by the name of a file, held by whoever has its descriptor: it outlives no process.

The kernel gives the lock back when the last copy of the descriptor is closed, so it can be
left to child processes. Source: flock(2).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

NOTE_BYTES = 4096


class FileLock:
    """A lock that was taken. ``fd`` may be inherited; it is the lock."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self.fd = fd

    def release(self) -> None:
        """Let go, and remove the file. With copies elsewhere the lock stays taken, unnamed."""
        self.path.unlink(missing_ok=True)
        os.close(self.fd)

    def note(self, data: bytes) -> None:
        """Leave word for those who find it taken."""
        os.ftruncate(self.fd, 0)
        os.pwrite(self.fd, data, 0)


def take(path: Path) -> FileLock | None:
    """The lock, or None while somebody has it. Raises OSError."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            status = path.stat(follow_symlinks=False)
        except BlockingIOError:
            os.close(fd)
            return None
        except FileNotFoundError:
            os.close(fd)
            continue
        if (status.st_ino, status.st_dev) == (os.fstat(fd).st_ino, os.fstat(fd).st_dev):
            return FileLock(path, fd)
        # Its last holder removed the file after we had opened it.
        os.close(fd)


def note_of(path: Path) -> bytes:
    """What the holder left; empty when there is none."""
    with contextlib.suppress(OSError):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            return os.pread(fd, NOTE_BYTES, 0)
        finally:
            os.close(fd)
    return b""
