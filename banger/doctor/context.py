"""What the checks work with, built by the composition root."""

from __future__ import annotations

from dataclasses import dataclass

from banger.capabilities.registry import Registry
from banger.host.image_files import ImageFiles
from banger.host.paths import Paths
from banger.kernel.actor import Ref
from banger.kernel.store import RecordStore
from banger.model.image import ImageRecord
from banger.model.settings import Settings
from banger.model.vm import VmRecord
from banger.vmm.base import Vmm


@dataclass(frozen=True)
class DoctorContext:
    settings: Settings
    paths: Paths
    driver: Vmm
    fleet: Ref
    taps: Ref
    images: Ref
    firewall: Ref
    registry: Registry
    vms: RecordStore[VmRecord]
    standby: Ref
    standby_vms: RecordStore[VmRecord]
    """Of the pool of VMs that are kept ready."""

    @property
    def stores(self) -> tuple[RecordStore[VmRecord], ...]:
        """The records of all that has a VMM, or may have one."""
        return self.vms, self.standby_vms

    def image_files(self, image: ImageRecord) -> ImageFiles:
        return ImageFiles.of(self.paths.images / image.id, image.registered)
