"""Processes that can't be mistaken for others: pidfd + start time + boot id."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from banger.model.process import ProcessIdentity

_START_TIME = 22
"""Field of /proc/PID/stat, counted from 1 (proc(5))."""
_STATE = 3


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def identify(pid: int) -> ProcessIdentity | None:
    """The identity of the process that has this pid now; None when it is gone or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command's name, field 2, may hold spaces and parentheses.
    fields = stat[stat.rindex(")") + 1 :].split()
    if fields[_STATE - 3] in "ZX":
        return None
    return ProcessIdentity(pid, int(fields[_START_TIME - 3]), boot_id())


def open_process(identity: ProcessIdentity) -> int | None:
    """A pidfd for exactly this process, or None when it is gone.

    The identity is compared after the pidfd was opened, so the descriptor can't stand for
    a later process with the same pid.
    """
    if identity.boot_id != boot_id():
        return None
    try:
        pidfd = os.pidfd_open(identity.pid)
    except OSError:
        return None
    if identify(identity.pid) == identity:
        return pidfd
    os.close(pidfd)
    return None


def send_signal(pidfd: int, number: signal.Signals) -> None:
    """Signal the process; no error when it has ended."""
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, number)


def reap(pidfd: int) -> None:
    """Collect the process if it is an ended child of ours; else do nothing."""
    with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)


def arguments(pid: int) -> list[str]:
    """The process's argument line; empty when it is gone."""
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return []
    return [os.fsdecode(argument) for argument in line.split(b"\0")]


def find_by_argument(argument: str) -> list[int]:
    """The pids of processes that have ``argument`` on their argument line."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [pid for pid in pids if argument in arguments(pid)]
