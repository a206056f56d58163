"""Room for the VMs' disks and for images, and what the file system can do."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from banger.capabilities.check import Check
from banger.doctor.context import DoctorContext
from banger.doctor.looking import looking_check
from banger.model.finding import Finding
from banger.model.sizes import GIB, MIB, show_size

LITTLE_BYTES = 2 * GIB
LITTLE_PERCENT = 10
NEXT_TO_NOTHING_BYTES = 256 * MIB
FEW_INODES = 1000

_FICLONE = 0x40049409
"""include/uapi/linux/fs.h."""


def disk_check(context: DoctorContext) -> Check:
    paths = {"state": context.paths.state, "images": context.paths.cache}
    return looking_check(
        "disk",
        lambda check: [finding for what in paths.items() for finding in _look(check, *what)],
    )


def reflink_check(context: DoctorContext) -> Check:
    state = context.paths.state
    return looking_check("reflink", lambda check: _look_at_reflink(check, state))


def _look(check: Check, what: str, path: Path) -> Sequence[Finding]:
    status = os.statvfs(path)
    free, total = status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize
    percent = 100 * free // total if total else 0
    room = f"{show_size(free)} ({percent} %) free for {what} at {path}"
    if free < NEXT_TO_NOTHING_BYTES:
        return [check.failed(f"only {room}", _TIDY)]
    if free < LITTLE_BYTES or percent < LITTLE_PERCENT:
        return [check.warning(f"only {room}", _TIDY)]
    # File systems without fixed inode tables count none.
    if status.f_files and status.f_favail < FEW_INODES:
        return [check.warning(f"only {status.f_favail} inodes free for {what} at {path}", _TIDY)]
    return [check.ok(room)]


def _look_at_reflink(check: Check, directory: Path) -> Sequence[Finding]:
    if can_reflink(directory):
        return [check.ok(f"the file system of {directory} shares blocks between copies (reflink)")]
    return [check.ok(f"no reflink at {directory}: a copy of a disk takes its full size")]


def can_reflink(directory: Path) -> bool:
    """Whether a file there can be cloned without copying; leaves no file behind."""
    with (
        tempfile.TemporaryFile(dir=directory) as source,
        tempfile.TemporaryFile(dir=directory) as target,
        contextlib.suppress(OSError),
    ):
        source.write(b"banger")
        source.flush()
        fcntl.ioctl(target.fileno(), _FICLONE, source.fileno())
        return True
    return False


_TIDY = "delete VMs or images that nobody needs, or move banger's directories to a larger disk"
