"""What a VM actor needs of the rest of the daemon, handed to it by the composition root."""

from __future__ import annotations

from dataclasses import dataclass

from banger.host.keys import KeyPair
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
    bus: Bus
    paths: Paths
    key: KeyPair
    resolvers: tuple[str, ...]
    stop_timeout_s: float
