"""Parts of a virtual machine: disks and network cards."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

import msgspec


class DiskFormat(StrEnum):
    """``OVERLAY``: qcow2 over a raw base. ``RAW``: a raw file of the VM's own."""

    OVERLAY = "overlay"
    RAW = "raw"


class Drive(msgspec.Struct, frozen=True):
    """A disk of the guest, which finds it by ``serial``."""

    serial: str
    path: Path
    format: DiskFormat
    base: Path | None = None
    """What an overlay lies on: raw, read-only."""
    layers: tuple[Path, ...] = ()
    """Frozen overlays between the base and this one, the lowest first; read-only."""


class Card(msgspec.Struct, frozen=True):
    """A network card: a TAP of the host and the MAC the guest sees."""

    tap: str
    """"": a card of the same kind whose cable ends nowhere."""
    mac: str
