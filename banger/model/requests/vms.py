"""What the daemon is asked about the lives of VMs."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec

from banger.kernel.message import Fault, Request
from banger.model.labels import LabelKey, Labels, LabelValue
from banger.model.lifetime import LifetimeChange
from banger.model.names import ImageName, VmName
from banger.model.requests.reply import Reply
from banger.model.vm import (
    Beginning,
    DiskBytes,
    MemoryMib,
    OptionValues,
    Vcpus,
    VmView,
)


class SnapshotName(Reply, frozen=True):
    vm: VmName
    name: VmName


class CreateVm(Request[VmView], frozen=True, tag="vm.create"):
    """None means the default of the settings. stream: events of this creation.

    ``fault`` is refused unless the daemon was started for tests.
    """

    name: VmName | None = None
    image: ImageName | None = None
    vcpus: Vcpus | None = None
    memory_mib: MemoryMib | None = None
    disk_bytes: DiskBytes | None = None
    labels: Labels = {}
    options: OptionValues = {}
    lifetime: LifetimeChange = LifetimeChange()
    snapshot: SnapshotName | None = None
    """What it is to begin in; image and shape are those of it then."""
    start: bool = True
    begin: Beginning = Beginning.STANDBY
    fault: Fault | None = None


class ListVms(Request[list[VmView]], frozen=True, tag="vm.list"):
    pass


class ShowVm(Request[VmView], frozen=True, tag="vm.show"):
    name: VmName


class StartVm(Request[VmView], frozen=True, tag="vm.start"):
    """stream: events of this start."""

    name: VmName
    fault: Fault | None = None


class StopVm(Request[VmView], frozen=True, tag="vm.stop"):
    name: VmName
    force: bool = False
    """Kill the VMM at once; of a suspended VM: throw its memory away."""
    suspend: bool = False
    """Keep its memory: the next start goes on from there."""


class RestartVm(Request[VmView], frozen=True, tag="vm.restart"):
    """stream: events of the start."""

    name: VmName


class PauseVm(Request[VmView], frozen=True, tag="vm.pause"):
    name: VmName


class ResumeVm(Request[VmView], frozen=True, tag="vm.resume"):
    name: VmName


class SetVm(Request[VmView], frozen=True, tag="vm.set"):
    """Change a VM. stream: events of this change.

    ``labels``: None removes one. ``options``: those given, the others stay. The shape is that
    of a stopped VM; its disk can grow and not shrink.
    """

    name: VmName
    vcpus: Vcpus | None = None
    memory_mib: MemoryMib | None = None
    disk_bytes: DiskBytes | None = None
    labels: dict[LabelKey, LabelValue | None] = {}
    options: OptionValues = {}
    lifetime: LifetimeChange = LifetimeChange()


class DeleteVm(Request[None], frozen=True, tag="vm.delete"):
    name: VmName


class WaitCondition(StrEnum):
    """``exec``: a command can be run; ``healthy``: the guest's own init has taken over."""

    RUNNING = "running"
    EXEC = "exec"
    HEALTHY = "healthy"
    SSH = "ssh"
    STOPPED = "stopped"


class WaitVm(Request[VmView], frozen=True, tag="vm.wait"):
    name: VmName
    condition: WaitCondition
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=86400)]
