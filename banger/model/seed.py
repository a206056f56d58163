"""A warm seed: a guest that was booted once and is kept as it was, for new VMs to begin in."""

from __future__ import annotations

import msgspec

from banger.model.names import ImageName
from banger.model.vm import MemoryMib, Vcpus

TEMPLATE_MAC = "02:fc:00:00:00:00"
"""Of the card in every seed. No VM has it: its last four bytes would be the address 0.0.0.0."""


class SeedOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a seed is made of. VMs that come to the same can begin in the same seed."""

    image_id: str
    vcpus: Vcpus
    memory_mib: MemoryMib
    kernel_arguments: tuple[str, ...] = ()
    drives: tuple[str, ...] = ()
    """Serials of the disks beside the root disk."""


class SeedRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is kept of a seed. ``id`` is the name of its directory; ``key`` tells all its inputs."""

    id: str
    key: str
    image: ImageName
    order: SeedOrder
    made_at: float
    """Unix seconds."""
    ram_digest: str
    state_digest: str
    work_bytes: int
    """Size of the file system that its VMs' work disks begin as; 0: they have none."""


RECORD_VERSION = 1


class SeedView(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A seed as ``image show`` shows it."""

    id: str
    image: str
    vcpus: int
    memory_mib: int
    allocated_bytes: int
    """What its files take on the host."""
    loaded_bytes: int
    """What its memory takes of the host's, which all its VMs share; 0 while none needs it."""
    made_at: str
    """UTC, RFC 3339."""
    vms: list[str]
    """Those whose root disk lies on the seed's."""
    problem: str = ""
    """Why no new VM begins in it."""


class PrunedSeed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    image: str
    bytes: int
    reason: str


class SeedFloor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Milliseconds of the bare VMM, with nothing of banger's around it."""

    restore_ms: float
    """From nothing to a guest that runs, begun in the seed."""
    answer_ms: float
    """To the first answer of its agent."""
    boot_ms: float
    """To the first answer of the agent in one that was booted."""
