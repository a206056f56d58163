"""The VMs' network on the host: bridge, routes, forwarding."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from banger.actors.tap_pool import GetNetwork
from banger.capabilities.check import Check
from banger.doctor.context import DoctorContext
from banger.doctor.looking import in_thread, looking_check
from banger.host import netlink
from banger.model.finding import Finding
from banger.model.network import Network

SYSCTL = Path("/proc/sys")


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


def forwarding_check() -> Check:
    return looking_check("forwarding", _look_at_forwarding)


def _look_at_forwarding(check: Check) -> Sequence[Finding]:
    found = []
    if _sysctl("net/ipv4/ip_forward") == "0":
        found.append(
            check.warning(
                "this host forwards no IPv4, so guests reach nothing beyond it",
                "sysctl -w net.ipv4.ip_forward=1",
            )
        )
    if _sysctl("net/bridge/bridge-nf-call-iptables") == "1":
        found.append(
            check.warning(
                "what guests send to each other goes through this host's iptables rules, too",
                "sysctl -w net.bridge.bridge-nf-call-iptables=0",
            )
        )
    return found or [check.ok("this host forwards IPv4; bridged frames pass iptables by")]


def _sysctl(name: str) -> str | None:
    """Its value; None where the kernel has no such thing, or does not show it."""
    try:
        return (SYSCTL / name).read_text().strip()
    except OSError:
        return None


_AGAIN = "'banger daemon stop' and any command then: running VMs go on meanwhile"
