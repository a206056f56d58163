"""What the daemon is asked about snapshots."""

from __future__ import annotations

from banger.kernel.message import Fault, Request
from banger.model.names import VmName
from banger.model.snapshot import SnapshotView
from banger.model.vm import VmView


class CreateSnapshot(Request[SnapshotView], frozen=True, tag="vm.snapshot.create"):
    """Of a running or paused VM, which goes on. Undone when the client goes away."""

    vm: VmName
    name: VmName


class ListSnapshots(Request[list[SnapshotView]], frozen=True, tag="vm.snapshot.list"):
    """The oldest first."""

    vm: VmName


class RestoreSnapshot(Request[VmView], frozen=True, tag="vm.snapshot.restore"):
    """The VM is again what it was then, and runs. stream: events of this.

    ``fault`` is refused unless the daemon was started for tests.
    """

    vm: VmName
    name: VmName
    fault: Fault | None = None


class DeleteSnapshot(Request[None], frozen=True, tag="vm.snapshot.delete"):
    """What VMs that were made from it need of it stays until they are deleted."""

    vm: VmName
    name: VmName
