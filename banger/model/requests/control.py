"""What the daemon is asked about itself."""

from __future__ import annotations

from banger.kernel.message import Request
from banger.model.requests.reply import Reply


class DaemonStatus(Reply, frozen=True):
    pid: int
    version: str
    uptime_s: float
    vms: dict[str, int]
    """How many VMs are in each state."""
    quarantined: dict[str, str]
    """Names whose record can't be read, and why."""
    accelerator: str | None
    """kvm or tcg; null until a VM was started."""
    bridge: str
    subnet: str | None
    socket: str


class GetStatus(Request[DaemonStatus], frozen=True, tag="daemon.status"):
    pass


class StopDaemon(Request[None], frozen=True, tag="daemon.stop"):
    """Stop the daemon; its VMs too if ``vms``."""

    vms: bool = False
