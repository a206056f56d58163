"""What the daemon is asked about its host."""

from __future__ import annotations

from banger.kernel.message import Request
from banger.model.finding import Finding


class RunDoctor(Request[list[Finding]], frozen=True, tag="doctor.run"):
    """All checks, or with ``leaks`` also what is on the host and belongs to no VM."""

    leaks: bool = False
    fix: bool = False
