"""What a VM actor needs of the rest of the daemon, handed to it by the composition root."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import trio

from banger.capabilities.registry import Registry
from banger.host.paths import Paths
from banger.kernel.actor import Ref
from banger.kernel.bus import Bus
from banger.kernel.store import RecordStore
from banger.model.vm import VmRecord
from banger.vmm.base import Vmm


@dataclass(frozen=True)
class Services:
    store: RecordStore[VmRecord]
    driver: Vmm
    taps: Ref
    seeds: Ref
    standby: Ref
    bus: Bus
    paths: Paths
    capabilities: Registry
    stop_timeout_s: float
    pin_unknown: Callable[[], Awaitable[None]]
    """Hold the TAPs of running VMs whose records can't be read to what they were given."""
    recovered: trio.Event = field(default_factory=trio.Event)
    """Set once every VM that there was has been taken up again; nothing new starts before."""
