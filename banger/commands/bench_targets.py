"""What a bench's rows are meant to be at most, on a quiet machine in software emulation."""

from __future__ import annotations

from banger.commands.bench_many import AT_ONCE, CPU, MEMORY, SLOWEST
from banger.model.vm import Beginning

TO_EXEC = "create to first exec"
TO_SSH = "create to the end of 'ssh VM true'"
PROCESSES = "'vm create', then 'vm exec', two processes"
RUN = "'vm run -- true', a process"
FORK, FORK_PAUSE = "fork to first exec in the child", "fork: the parent stands still"
PSS, PRIVATE = "VM memory (PSS)", "VM memory (private)"
NEW_DISKS, DISKS = "disks of the VM, new", "disks of the VM, settled"
RESTORED = "bare VMM: restored"
TIMES_BARE = f"{TO_EXEC} / {RESTORED}"

_ONE_WARM = {
    TO_EXEC: 250.0,
    TIMES_BARE: 3.0,
    TO_SSH: 1500.0,
    FORK: 500.0,
    FORK_PAUSE: 100.0,
    PSS: 110.0,
    PRIVATE: 90.0,
    NEW_DISKS: 1024.0,
    DISKS: 1024.0,
}
_STANDBY = {TO_EXEC: 60.0, PROCESSES: 250.0, RUN: 350.0}
_TEN = {AT_ONCE.format(10): 3000.0}
_FIFTY = {SLOWEST: 1000.0, MEMORY: 100.0, CPU: 1.0}


def targets(count: int, way: Beginning | None) -> dict[str, float]:
    """By the rows' names, in their units."""
    if count > 1:
        return {10: _TEN, 50: _FIFTY}.get(count, {})
    if way is Beginning.STANDBY:
        return _STANDBY
    return _ONE_WARM if way is Beginning.WARM else {}
