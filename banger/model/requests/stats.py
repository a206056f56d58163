"""What the daemon is asked about what VMs use."""

from __future__ import annotations

from typing import Annotated

import msgspec

from banger.kernel.message import Request
from banger.model.names import VmName
from banger.model.stats import VmStats


class ReadStats(Request[list[VmStats]], frozen=True, tag="vm.stats"):
    """In the order of ``names``, without those that are not there; no names: all VMs, by name.

    With ``guests`` the guests that run are asked too, and given 2 s.
    """

    names: Annotated[list[VmName], msgspec.Meta(max_length=4096)] = []
    guests: bool = True
