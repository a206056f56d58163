"""Is there memory for what the running VMs may still take?"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from banger.actors.fleet import ListVms
from banger.actors.standby import ListStandby
from banger.capabilities.check import Check
from banger.doctor.context import DoctorContext
from banger.doctor.looking import in_thread
from banger.host.memory_pressure import kib
from banger.host.process_usage import read_usage
from banger.model.finding import Finding
from banger.model.sizes import MIB, show_size
from banger.model.vm import VmRecord, VmView

PROC = Path("/proc")


def memory_check(context: DoctorContext) -> Check:
    async def run() -> Sequence[Finding]:
        views = [view for view in await context.fleet.ask(ListVms()) if view.pid is not None]
        ready = await context.standby.ask(ListStandby())
        return await in_thread(lambda: _look(check, views, ready))

    check = Check("memory", run)
    return check


def _look(check: Check, running: Sequence[VmView], ready: Sequence[VmRecord]) -> Sequence[Finding]:
    facts = (PROC / "meminfo").read_text()
    total, available = kib(facts, "MemTotal"), kib(facts, "MemAvailable")
    promised = sum(view.memory_mib for view in running) * MIB
    to_come = sum(max(0, view.memory_mib * MIB - _resident(view.pid)) for view in running)
    vms = f"{len(running)} running VMs with {show_size(promised)}" if running else "no VM runs"
    if ready:
        vms += f", {len(ready)} standby VMs with {show_size(sum(map(_private, ready)))}"
    host = f"{show_size(available)} of {show_size(total)} available"
    if to_come > available:
        return [
            check.warning(
                f"{vms} may still take {show_size(to_come)}, more than there is: {host}",
                "stop VMs, or give them less memory",
            )
        ]
    return [check.ok(f"{host}; {vms}")]


def _private(record: VmRecord) -> int:
    """What the host would have back without it, in bytes; 0 when it is gone."""
    usage = None if record.process is None else read_usage(record.process)
    return 0 if usage is None else usage.private_bytes


def _resident(pid: int | None) -> int:
    """What the process has in memory, in bytes; 0 when it is gone."""
    try:
        # The second field counts resident pages (proc(5)).
        pages = int((PROC / str(pid) / "statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
