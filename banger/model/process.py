"""What identifies a process for good."""

from __future__ import annotations

import msgspec


class ProcessIdentity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """pid + start time + boot id: a pid alone is used again sooner or later.

    ``start_ticks`` is field 22 of /proc/PID/stat (clock ticks since boot, proc(5));
    ``boot_id`` is /proc/sys/kernel/random/boot_id.
    """

    pid: int
    start_ticks: int
    boot_id: str
