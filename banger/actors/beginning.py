"""Where the guest of a new VM can begin: ready already, in a warm seed, or at its boot."""

from __future__ import annotations

from banger.actors.seeds import FoundSeed
from banger.actors.standby import Standby
from banger.actors.vm_disks import WORK_SERIAL, work_drives
from banger.capabilities.guest import GuestPlan
from banger.host import qcow2
from banger.model.guest import GuestConfig
from banger.model.seed import SeedOrder
from banger.model.vm import VmRecord
from banger.model.warm_config import news


def why_cold(plan: GuestPlan) -> str:
    """What of the VM has to be there while its guest boots; "" when nothing has."""
    if plan.early_files:
        return f"files of {', '.join(plan.early_files)} are read while the guest boots"
    if plan.cards:
        return f"it has {1 + len(plan.cards)} network cards"
    others = [drive.serial for drive in plan.drives if drive.serial != WORK_SERIAL]
    return f"it has a disk {others[0]!r}" if others else ""


def seed_order(record: VmRecord, plan: GuestPlan) -> SeedOrder:
    """Of the seed that it could begin in."""
    return SeedOrder(
        image_id=record.image_id,
        vcpus=record.spec.vcpus,
        memory_mib=record.spec.memory_mib,
        kernel_arguments=plan.kernel_arguments,
        drives=tuple(drive.serial for drive in plan.drives),
    )


def why_not_standby(standby: Standby, found: FoundSeed, config: GuestConfig) -> str:
    """Why the guest that stands ready can't become the VM; "" when it can."""
    if found.seed is None:
        return found.reason
    if found.seed.id != standby.seed.id:
        return "there is a newer seed"
    if news(config, standby.told) is None:
        return "it was told what this VM must not know"
    return ""


def work_bytes(plan: GuestPlan) -> int:
    """Size of the work disk, 0 without one. Blocks."""
    drives = work_drives(plan.drives)
    return sum(qcow2.read_header(drive.path).virtual_size for drive in drives)
