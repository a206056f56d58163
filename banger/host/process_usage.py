"""What a process uses of CPU and memory (proc(5))."""

from __future__ import annotations

import os
import re
from pathlib import Path

from banger.host import process
from banger.model.process import ProcessIdentity
from banger.model.stats import VmmUsage

_USER_TIME, _SYSTEM_TIME = 14, 15
"""Fields of /proc/PID/stat, counted from 1, in ticks."""
_AFTER_NAME = 3
_size = re.compile(r"^(\w+):\s+(\d+) kB$", re.MULTILINE)


def read_usage(identity: ProcessIdentity) -> VmmUsage | None:
    """None: exactly this process no longer runs, or we may not look at it.

    Walks the process's page tables: some milliseconds.
    """
    directory = Path("/proc", str(identity.pid))
    try:
        stat = (directory / "stat").read_text(errors="replace")
        sizes = _sizes((directory / "smaps_rollup").read_text())
    except OSError:
        return None
    # Compared afterwards, so what was read can't be of a later process with its pid.
    if process.identify(identity.pid) != identity:
        return None
    return VmmUsage(
        pid=identity.pid,
        cpu_s=_cpu_seconds(stat),
        resident_bytes=sizes["Rss"],
        pss_bytes=sizes["Pss"],
        private_bytes=sizes["Private_Clean"] + sizes["Private_Dirty"],
        shared_bytes=sizes["Shared_Clean"] + sizes["Shared_Dirty"],
    )


def cpu_seconds(identity: ProcessIdentity) -> float:
    """What it has used of CPU; 0 when it has gone."""
    try:
        return _cpu_seconds(Path("/proc", str(identity.pid), "stat").read_text(errors="replace"))
    except OSError:
        return 0.0


def _cpu_seconds(stat: str) -> float:
    # The command's name, field 2, may hold spaces and parentheses.
    fields = stat[stat.rindex(")") + 1 :].split()
    ticks = int(fields[_USER_TIME - _AFTER_NAME]) + int(fields[_SYSTEM_TIME - _AFTER_NAME])
    return ticks / os.sysconf("SC_CLK_TCK")


def _sizes(rollup: str) -> dict[str, int]:
    """Bytes by name."""
    return {name: int(kib) * 1024 for name, kib in _size.findall(rollup)}
