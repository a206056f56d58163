"""What the daemon is asked about the installation's key."""

from __future__ import annotations

from enum import StrEnum

from banger.kernel.message import Fault, Request
from banger.model.requests.reply import Reply


class KeyStatus(StrEnum):
    """Of one VM's guest. ``outdated``: it accepts another of our keys, or not this one."""

    CONFIRMED = "confirmed"
    OUTDATED = "outdated"
    NEXT_START = "next-start"
    FAILED = "failed"


class KeyOfVm(Reply, frozen=True):
    """``problem`` is why the guest could not be asked or told."""

    vm: str
    status: KeyStatus
    problem: str = ""


class KeyView(Reply, frozen=True):
    """The SSH key with which banger enters all guests; the private half is at ``path``."""

    public_key: str
    fingerprint: str
    made_at: str
    path: str
    vms: list[KeyOfVm]


class ShowKey(Request[KeyView], frozen=True, tag="key.show"):
    pass


class RotateKey(Request[KeyView], frozen=True, tag="key.rotate"):
    """Make a new key and replace it in all VMs; goes on when the client has gone.

    ``fault`` is refused unless the daemon was started for tests.
    """

    fault: Fault | None = None
