"""The VMs' firewall, and other firewalls of the host that drop the VMs' packets."""

from __future__ import annotations

from collections.abc import Sequence

from banger.actors.firewall import DescribeFirewall
from banger.capabilities.check import Check
from banger.doctor.context import DoctorContext
from banger.doctor.looking import looking_check
from banger.host.foreign_firewall import foreign_drops
from banger.model.finding import Finding


def firewall_check(context: DoctorContext) -> Check:
    async def run() -> Sequence[Finding]:
        report = await context.firewall.ask(DescribeFirewall())
        if not report.intact:
            problem = f"table {report.table} in the kernel is not what the daemon wants there"
            return [check.warning(problem, "see the daemon's log: it could not be restored")]
        owners = f", rules of {', '.join(report.owners)}" if report.owners else ""
        return [check.ok(f"table {report.table}: {len(report.pins)} TAPs pinned{owners}")]

    check = Check("firewall", run)
    return check


def foreign_firewall_check(context: DoctorContext) -> Check:
    bridge = context.settings.text("network.bridge")
    return looking_check("foreign-firewall", lambda check: _look(check, bridge))


def _look(check: Check, bridge: str) -> Sequence[Finding]:
    return [
        check.warning(
            f"{drop.tool} drops the VMs' packets: chain {drop.chain} of table {drop.table}, "
            f"hook {drop.hook}",
            drop.remedy,
        )
        for drop in foreign_drops(bridge)
    ] or [check.ok(f"no other firewall drops what goes through {bridge}")]
