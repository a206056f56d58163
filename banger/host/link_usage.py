"""What has gone through TAPs, as the kernel counts it."""

from __future__ import annotations

from typing import Any

from banger.host.links import netlink
from banger.model.stats import NetworkUsage


def read_traffic() -> dict[str, NetworkUsage]:
    """By name, of every interface of this network namespace. Raises `HostNotReady`.

    The host receives at a TAP what the guest sends.
    """
    with netlink("count the packets of TAPs") as ipr:
        found = [_traffic(message) for message in ipr.link("dump")]
    return {usage.tap: usage for usage in found}


def _traffic(message: Any) -> NetworkUsage:
    counters = message.get_attr("IFLA_STATS64") or {}
    return NetworkUsage(
        tap=message.get_attr("IFLA_IFNAME"),
        sent_bytes=counters.get("rx_bytes", 0),
        sent_packets=counters.get("rx_packets", 0),
        received_bytes=counters.get("tx_bytes", 0),
        received_packets=counters.get("tx_packets", 0),
    )
