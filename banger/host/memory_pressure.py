"""Whether the host is short of memory. Source: proc_meminfo(5), the kernel's accounting/psi.rst."""

from __future__ import annotations

import re
from pathlib import Path

from banger.model.sizes import KIB, show_size

PROC = Path("/proc")
STALLED_PERCENT = 10.0
"""Of the last ten seconds, in which some process waited for memory."""


def memory_pressure(reserve_bytes: int, proc: Path = PROC) -> str:
    """Why the host is short of memory, of which so much should be available; "": it is not."""
    available = kib((proc / "meminfo").read_text(), "MemAvailable")
    if available < reserve_bytes:
        return f"{show_size(available)} of memory are available, {show_size(reserve_bytes)} wanted"
    stalled = _stalled(proc / "pressure" / "memory")
    if stalled >= STALLED_PERCENT:
        return f"processes waited for memory in {stalled:.0f} % of the last ten seconds"
    return ""


def kib(facts: str, name: str) -> int:
    """A row of /proc/meminfo, in bytes; 0 when there is none."""
    found = re.search(rf"^{name}:\s*(\d+) kB$", facts, re.MULTILINE)
    return int(found[1]) * KIB if found else 0


def _stalled(path: Path) -> float:
    """Percent; 0 where the kernel does not tell."""
    try:
        found = re.search(r"^some avg10=([0-9.]+)", path.read_text())
    except OSError:
        return 0.0
    return float(found[1]) if found else 0.0
