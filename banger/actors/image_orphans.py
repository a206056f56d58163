"""What is left of builds whose daemon was killed: builders that still run, their files.

The lock of a build is inherited by all that its builder starts. So a lock that can't be had
means that something of the build lives, whichever daemon began it. Everything here blocks.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import shutil
import signal
import time
from pathlib import Path

import msgspec

from banger.host import file_lock, process
from banger.kernel.wire import BAD_BYTES
from banger.model.process import ProcessIdentity

log = logging.getLogger(__name__)

BUILDING = ".building-"
REGISTERING = ".registering-"
LOCK = ".lock-"
END_DEADLINE_S = 2.0
_PAUSE_S = 0.05


class BuildNote(msgspec.Struct, frozen=True):
    """What stands in the lock of a build."""

    directory: str
    since: str
    daemon: ProcessIdentity
    builder: ProcessIdentity | None = None


def lock_path(root: Path, name: str) -> Path:
    return root / f"{LOCK}{name}"


def read_note(path: Path) -> BuildNote | None:
    try:
        return msgspec.json.decode(file_lock.note_of(path), type=BuildNote)
    except BAD_BYTES:
        return None


def sweep(root: Path) -> None:
    """End builders that no daemon waits for, and remove what they and crashes left."""
    kept = {name for path in root.glob(f"{LOCK}*") if (name := _still_locked(path)) is not None}
    for pattern in (BUILDING, REGISTERING):
        for partial in root.glob(f"{pattern}*"):
            if partial.name not in kept:
                shutil.rmtree(partial, ignore_errors=True)


def _still_locked(path: Path) -> str | None:
    """The directory of a build that goes on; None when it was over or is now."""
    note = read_note(path)
    lock = file_lock.take(path)
    if lock is None and note is not None and not _lives(note.daemon):
        if note.builder is not None:
            log.warning("ending a builder that a daemon left, pid %d", note.builder.pid)
            _end_group(note.builder)
        deadline = time.monotonic() + END_DEADLINE_S
        while (lock := file_lock.take(path)) is None and time.monotonic() < deadline:
            time.sleep(_PAUSE_S)
    if lock is not None:
        lock.release()
        return None
    log.warning("%s is held: that build goes on", path)
    return note.directory if note else ""


def _lives(identity: ProcessIdentity) -> bool:
    return process.identify(identity.pid) == identity


def _end_group(builder: ProcessIdentity) -> None:
    """First asked, so that it cleans up, then made to."""
    pidfd = process.open_process(builder)
    if pidfd is None:
        return
    try:
        for number in (signal.SIGTERM, signal.SIGKILL):
            # Stopped, it can't end by itself: the group's number stays its own.
            process.send_signal(pidfd, signal.SIGSTOP)
            if not _lives(builder):
                return
            os.killpg(builder.pid, number)
            process.send_signal(pidfd, signal.SIGCONT)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(builder.pid, signal.SIGCONT)
            waiting = select.poll()
            waiting.register(pidfd, select.POLLIN)
            if waiting.poll(END_DEADLINE_S * 1000):
                return
    finally:
        os.close(pidfd)
