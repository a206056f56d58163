"""Where snapshots are: each in a directory with its record and its state."""

from __future__ import annotations

import shutil
from pathlib import Path

from banger.host.paths import Paths
from banger.kernel.store import RecordStore
from banger.model.snapshot import RECORD_VERSION, SnapshotRecord

MAKING = ".making-"
SUSPENDING = ".suspending-"


def snapshot_store(vm: Path) -> RecordStore[SnapshotRecord]:
    """Of the VM with this directory; by the snapshots' names."""
    return _store(vm / "snapshots")


def fork_store(paths: Paths) -> RecordStore[SnapshotRecord]:
    """Of all VMs; by the forks' ids."""
    return _store(paths.forks)


def state_file(snapshot: Path) -> Path:
    return snapshot / "state"


def sweep_unfinished(vm: Path) -> None:
    """Remove what a crash has left half made or half deleted in a VM's directory."""
    store = snapshot_store(vm)
    store.sweep()
    for making in store.root.glob(f"{MAKING}*"):
        shutil.rmtree(making)
    for pattern in (f"{SUSPENDING}*", "*.new"):
        for file in vm.glob(pattern):
            file.unlink()


def _store(root: Path) -> RecordStore[SnapshotRecord]:
    return RecordStore(root, SnapshotRecord, version=RECORD_VERSION)
