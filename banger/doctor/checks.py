"""All checks, in the order they are shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from banger.capabilities import guard
from banger.capabilities.capability import AnyCapability
from banger.capabilities.check import Check
from banger.doctor import (
    disk,
    firewall,
    image,
    leaked_files,
    leaked_processes,
    leaked_seeds,
    leaked_taps,
    memory,
    network,
    plugins,
    records,
    rights,
    tools,
    vmm,
    work_seeds,
)
from banger.doctor.accelerator import accelerator_check
from banger.doctor.context import DoctorContext
from banger.doctor.run import OwnedCheck
from banger.kernel.errors import BangerError
from banger.model.finding import Finding


def all_checks(context: DoctorContext, *, leaks: bool = False) -> list[OwnedCheck]:
    """banger's own, those of the capabilities, and with ``leaks`` the looks for leaks."""
    own = [
        vmm.vmm_check(context),
        vmm.vmm_abilities_check(context),
        accelerator_check(context),
        rights.rights_check(),
        rights.user_check(context),
        image.agent_check(),
        image.image_check(context),
        work_seeds.work_seeds_check(context),
        tools.tools_check(),
        network.network_check(context),
        firewall.firewall_check(context),
        firewall.foreign_firewall_check(context),
        disk.disk_check(context),
        disk.reflink_check(context),
        memory.memory_check(context),
        records.records_check(context),
        records.vms_check(context),
        plugins.plugins_check(context),
    ]
    # Processes first: what they hold can be removed once they have ended.
    lost = [
        leaked_processes.leaked_processes_check(context),
        leaked_taps.leaked_taps_check(context),
        leaked_taps.leaked_pins_check(context),
        leaked_files.leaked_runtime_check(context),
        leaked_files.leaked_directories_check(context),
        leaked_files.leaked_mounts_check(context),
        leaked_seeds.leaked_seeds_check(context),
    ]
    return [
        *map(OwnedCheck, own),
        *capability_checks(context),
        *(map(OwnedCheck, lost) if leaks else ()),
    ]


def checks_before_start(context: DoctorContext) -> list[OwnedCheck]:
    """Those that may refuse a verb; each is quick, and none looks at other VMs."""
    own = [vmm.vmm_check(context), rights.rights_check(), image.agent_check()]
    return [*map(OwnedCheck, own), *capability_checks(context)]


def capability_checks(context: DoctorContext) -> Iterator[OwnedCheck]:
    for name, capability in list(context.registry.active.items()):
        yield from _checks_of(name, capability)


def _checks_of(name: str, capability: AnyCapability) -> list[OwnedCheck]:
    try:
        return [OwnedCheck(check, name) for check in guard.call(lambda: list(capability.checks()))]
    except (guard.Misbehaved, BangerError) as error:
        reason = f"its list of checks: {error}"

    async def run() -> Sequence[Finding]:
        raise guard.Misbehaved(reason)

    return [OwnedCheck(Check(name, run), name)]
