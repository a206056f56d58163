"""The VMs' network on the host: bridge and routes."""

from __future__ import annotations

from collections.abc import Sequence

from banger.actors.tap_pool import GetNetwork
from banger.capabilities.check import Check
from banger.doctor.context import DoctorContext
from banger.doctor.looking import in_thread
from banger.host import netlink
from banger.model.finding import Finding
from banger.model.network import Network


def network_check(context: DoctorContext) -> Check:
    async def run() -> Sequence[Finding]:
        network = await context.taps.ask(GetNetwork())
        return await in_thread(lambda: _look(check, network))

    check = Check("network", run)
    return check


def _look(check: Check, network: Network) -> Sequence[Finding]:
    bridge = netlink.find_bridge(network.bridge)
    if bridge is None:
        problem = f"the bridge {network.bridge} has gone since the daemon made it"
        return [check.failed(problem, _AGAIN)]
    if bridge.gateway != network.gateway:
        problem = f"the bridge {network.bridge} has the address {bridge.gateway}"
        return [check.failed(f"{problem} instead of {network.gateway}", _AGAIN)]
    overlapping = [
        other
        for other in netlink.host_networks(except_bridge=network.bridge)
        if other.overlaps(network.subnet)
    ]
    if overlapping:
        others = ", ".join(map(str, overlapping))
        return [
            check.warning(
                f"the VMs' network {network.subnet} overlaps {others}, which this host has "
                "a route to: one of the two may not be reached",
                "remove that route, or set network.subnet to a free network and make the VMs anew",
            )
        ]
    return [check.ok(f"{network.subnet} on bridge {network.bridge}; no route overlaps it")]


_AGAIN = "'banger daemon stop' and any command then: running VMs go on meanwhile"
