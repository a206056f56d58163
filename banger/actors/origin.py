"""What a VM begins in that is neither booted nor begun in a seed: the state of a snapshot."""

from __future__ import annotations

from pathlib import Path

import msgspec

from banger.actors.snapshot_store import state_file
from banger.model.fittings import Fittings
from banger.model.snapshot import SnapshotRecord


class Origin(msgspec.Struct, frozen=True):
    state: Path
    mac: str
    """Of the card in the state."""
    fittings: Fittings
    same: bool
    """The VM goes on where it was itself, in the same boot; else it is another one."""
    ram: Path | None = None
    """Its memory; None: that is in the state."""

    @classmethod
    def of(
        cls,
        snapshot: SnapshotRecord,
        directory: Path,
        *,
        same: bool = False,
        ram: Path | None = None,
    ) -> Origin:
        return cls(state_file(directory), snapshot.mac, snapshot.fittings, same, ram)
