"""Is there memory for what the running VMs may still take?"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from banger.actors.fleet import ListVms
from banger.capabilities.check import Check
from banger.doctor.context import DoctorContext
from banger.doctor.looking import in_thread
from banger.model.finding import Finding
from banger.model.sizes import KIB, MIB, show_size
from banger.model.vm import VmView

PROC = Path("/proc")


def memory_check(context: DoctorContext) -> Check:
    async def run() -> Sequence[Finding]:
        views = [view for view in await context.fleet.ask(ListVms()) if view.pid is not None]
        return await in_thread(lambda: _look(check, views))

    check = Check("memory", run)
    return check


def _look(check: Check, running: Sequence[VmView]) -> Sequence[Finding]:
    facts = (PROC / "meminfo").read_text()
    total, available = _kib(facts, "MemTotal"), _kib(facts, "MemAvailable")
    promised = sum(view.memory_mib for view in running) * MIB
    to_come = sum(max(0, view.memory_mib * MIB - _resident(view.pid)) for view in running)
    vms = f"{len(running)} running VMs with {show_size(promised)}" if running else "no VM runs"
    host = f"{show_size(available)} of {show_size(total)} available"
    if to_come > available:
        return [
            check.warning(
                f"{vms} may still take {show_size(to_come)}, more than there is: {host}",
                "stop VMs, or give them less memory",
            )
        ]
    return [check.ok(f"{host}; {vms}")]


def _kib(facts: str, name: str) -> int:
    found = re.search(rf"^{name}:\s*(\d+) kB$", facts, re.MULTILINE)
    return int(found[1]) * KIB if found else 0


def _resident(pid: int | None) -> int:
    """What the process has in memory, in bytes; 0 when it is gone."""
    try:
        # The second field counts resident pages (proc(5)).
        pages = int((PROC / str(pid) / "statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
