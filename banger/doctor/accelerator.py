"""KVM or software emulation: what really runs a guest here."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from banger.actors.images import FindImage
from banger.capabilities.check import Check
from banger.doctor.context import DoctorContext
from banger.doctor.looking import in_thread
from banger.host.user import vmm_user
from banger.kernel.errors import NotFound
from banger.model.finding import Finding
from banger.vmm.accelerator import Accelerator

KVM = Path("/dev/kvm")

REMEDY = (
    "turn virtualisation on in the firmware (on a virtual machine: nested virtualisation), "
    "then modprobe kvm_intel or kvm_amd"
)


def accelerator_check(context: DoctorContext) -> Check:
    """Boots a kernel under KVM when nothing has done that since the host's last boot."""
    text = context.settings.text

    async def run() -> Sequence[Finding]:
        wanted = text("qemu.accelerator")
        if text("vm.driver") != "qemu":
            return [check.ok(f"the driver {context.driver.name!r} chooses by itself")]
        if wanted == "tcg":
            reason = "the setting qemu.accelerator wants it so"
            return [check.warning(_emulated(reason), "set qemu.accelerator to auto")]
        if wanted == "kvm":
            if _may_open():
                return [check.ok("KVM, as the setting qemu.accelerator wants it")]
            problem = f"the setting qemu.accelerator wants KVM, but {_obstacle()}"
            return [check.failed(problem, REMEDY)]
        answer = context.driver.accelerator or await found_out()
        match answer:
            case "kvm":
                return [check.ok("KVM: a guest really runs in it")]
            case "tcg":
                return [check.warning(_emulated(_obstacle()), REMEDY)]
        return [
            check.warning(
                "not known yet whether guests run in KVM here: that takes QEMU and an image",
                "see the findings about these first",
            )
        ]

    async def found_out() -> str | None:
        try:
            record = await context.images.ask(FindImage(None))
        except NotFound:
            return None
        kernel = context.image_files(record).kernel
        return await in_thread(lambda: _find_out(context, kernel))

    check = Check("accelerator", run)
    return check


def _find_out(context: DoctorContext, kernel: Path) -> str | None:
    """The answer is remembered for the driver, too; without QEMU it would be a wrong one."""
    text = context.settings.text
    if shutil.which(text("qemu.binary")) is None or not kernel.exists():
        return None
    memory, user = context.paths.runtime / "accelerator", vmm_user(text("qemu.user"))
    return Accelerator("auto", text("qemu.binary"), memory, user=user).choose(kernel)


def _emulated(reason: str) -> str:
    return (
        f"VMs are emulated in software, for {reason}: they work, but are slower, "
        "and a hostile guest may break out"
    )


def _may_open() -> bool:
    return os.access(KVM, os.R_OK | os.W_OK)


def _obstacle() -> str:
    if not KVM.exists():
        return f"{KVM} is missing"
    if not _may_open():
        return f"the daemon may not use {KVM}"
    return f"no guest runs in KVM although {KVM} is there"
