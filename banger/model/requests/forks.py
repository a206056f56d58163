"""What the daemon is asked about forks."""

from __future__ import annotations

from typing import Annotated

import msgspec

from banger.kernel.message import Request
from banger.model.names import VmName
from banger.model.requests.reply import Reply
from banger.model.vm import VmView


class ForkOutcome(Reply, frozen=True):
    vms: list[VmView]
    paused_ms: float
    """How long the VM stood still."""


class ForkVm(Request[ForkOutcome], frozen=True, tag="vm.fork"):
    """New VMs that go on from where this one is, all or none."""

    name: VmName
    new: Annotated[list[VmName], msgspec.Meta(min_length=1, max_length=64)]
