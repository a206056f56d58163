"""What the daemon is asked about guests: their console, their health, the way in."""

from __future__ import annotations

from banger.kernel.message import Request
from banger.model.names import VmName
from banger.model.requests.reply import Reply


class ReadConsole(Request[None], frozen=True, tag="vm.console"):
    """stream: Output. With ``follow`` it runs until cancelled or the VM is gone.

    ``since`` is a Unix time, kept to the second.
    """

    name: VmName
    follow: bool = False
    since: float | None = None


class SshAccess(Reply, frozen=True):
    """``identity`` is the private key, for 0600 files of the caller's only."""

    user: str
    address: str
    host_public_key: str
    identity: bytes


class GetSshAccess(Request[SshAccess], frozen=True, tag="vm.ssh-access"):
    name: VmName


class GuestHealth(Reply, frozen=True):
    hostname: str
    stage: str
    uptime_ms: int
    sessions: int
    ssh: bool
    agent_version: str


class GetHealth(Request[GuestHealth], frozen=True, tag="vm.health"):
    name: VmName
