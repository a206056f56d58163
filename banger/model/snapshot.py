"""A snapshot: a VM's memory and disks as they were at one moment."""

from __future__ import annotations

import msgspec

from banger.model.fittings import Fittings
from banger.model.names import VmName
from banger.model.vm import LayerId, OptionValues, VmSpec


class SnapshotRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is kept of it beside the state. What begins in it is made the same way."""

    name: VmName
    vm: VmName
    created_at: float
    """Unix seconds."""
    spec: VmSpec
    image_id: str
    mac: str
    """Of the card in the state."""
    options: OptionValues
    layers: list[LayerId]
    """What its disks are, the lowest first."""
    fittings: Fittings
    paused_ms: float
    """How long the VM stood still for it."""
    seed: str = ""
    seed_work: bool = False


RECORD_VERSION = 1


class SnapshotView(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """As ``vm snapshot`` shows it. The field names are a stable interface."""

    name: str
    vm: str
    created_at: str
    """UTC, RFC 3339."""
    memory_bytes: int
    """What its memory takes on the host."""
    disk_bytes: int
    """What its own layer takes; those below it are shared with the one before."""
    paused_ms: float
