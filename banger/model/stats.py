"""What VMs use, as the host sees it and as their guests see it."""

from __future__ import annotations

from typing import Annotated

import msgspec

from banger.model.vm import VmState

COUNT_MAX = (1 << 63) - 1
PATH_CHARACTERS = 200
DISKS_MAX = 16

Count = Annotated[int, msgspec.Meta(ge=0, le=COUNT_MAX)]
Load = Annotated[float, msgspec.Meta(ge=0, le=1e6)]


class _Stats(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class VmmUsage(_Stats, frozen=True):
    """The VMM's process. PSS counts a page that n processes share as 1/n."""

    pid: int
    cpu_s: float
    """CPU time since its start."""
    resident_bytes: int
    pss_bytes: int
    private_bytes: int
    shared_bytes: int


class NetworkUsage(_Stats, frozen=True):
    """Counted at the TAP since its creation, named from the guest's side."""

    tap: str
    sent_bytes: int
    sent_packets: int
    received_bytes: int
    received_packets: int


class GuestMemory(_Stats, frozen=True):
    total_bytes: Count
    available_bytes: Count
    swap_total_bytes: Count
    swap_free_bytes: Count


class GuestDisk(_Stats, frozen=True):
    """A file system on a block device."""

    path: Annotated[str, msgspec.Meta(max_length=PATH_CHARACTERS)]
    size_bytes: Count
    used_bytes: Count
    available_bytes: Count


class GuestUsage(_Stats, frozen=True):
    """As the guest says: it may lie."""

    uptime_ms: Count
    load: Annotated[list[Load], msgspec.Meta(min_length=3, max_length=3)]
    """The averages of 1, 5 and 15 minutes."""
    processes: Count
    memory: GuestMemory
    disks: Annotated[list[GuestDisk], msgspec.Meta(max_length=DISKS_MAX)]


class VmStats(_Stats, frozen=True):
    """Counters of one VM. Two of them, one after the other, tell its rates."""

    name: str
    state: VmState
    at_s: float
    """By a clock of the host's that never goes back."""
    vcpus: int
    memory_bytes: int
    """What the guest was given."""
    disk_bytes: int
    disk_allocated_bytes: int
    """What its disks take on the host, the shared image not counted."""
    vmm: VmmUsage | None
    """Null when none runs."""
    network: NetworkUsage | None
    guest: GuestUsage | None
    guest_problem: str
    """Why there is nothing of the guest."""
