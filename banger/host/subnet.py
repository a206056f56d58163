"""A subnet for the VMs that collides with nothing the host can reach."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, collapse_addresses

from banger.host import links
from banger.kernel.errors import HostNotReady, UsageError

# Private space in the order we like it: little-used corners of 10/8 first, then one of
# 192.168/16 and 172.16/12, then the upper half of 10/8. Left out are the ranges that turn
# up on a host later: Docker's 172.17 to 172.20 and 192.168.0.0/20 pools, home routers'
# 192.168.0/1/2/100/178, libvirt's 192.168.122, podman's 10.88 and 10.89, clusters' 10.0,
# 10.42, 10.43, 10.96 and 10.244, QEMU's own 10.0.2.
CANDIDATES = tuple(
    map(
        IPv4Network,
        (
            "10.213.0.0/16",
            "10.177.0.0/16",
            "10.203.0.0/16",
            "192.168.208.0/20",
            "172.28.0.0/14",
            "10.144.0.0/12",
            "10.192.0.0/11",
        ),
    )
)

_WIDEST = 8
_NARROWEST = 30
# include/uapi/linux/rtnetlink.h, enum rtm_type
_RTN_BROADCAST, _RTN_MULTICAST = 3, 5


def host_networks(*, except_bridge: str | None = None) -> list[IPv4Network]:
    """Every network that the host's routes, in all tables, and its addresses cover.

    Default routes don't count, nor do the halves and quarters of the address space that
    VPNs use in their place (anything wider than /8). What belongs to the interface
    *except_bridge* is left out. Sorted, without overlaps.
    """
    networks = set()
    with links.netlink("read the host's routes and addresses") as ipr:
        excluded = links.index_of(except_bridge) if except_bridge else None
        for route in ipr.route("dump", family=socket.AF_INET):
            if route["type"] in (_RTN_BROADCAST, _RTN_MULTICAST):
                continue
            if route["dst_len"] < _WIDEST or (excluded and route.get_attr("RTA_OIF") == excluded):
                continue
            networks.add(IPv4Network((route.get_attr("RTA_DST"), route["dst_len"])))
        for address in ipr.addr("dump", family=socket.AF_INET):
            if address["index"] != excluded:
                # The peer's address on a point-to-point link, else our own.
                where = address.get_attr("IFA_ADDRESS") or address.get_attr("IFA_LOCAL")
                networks.add(IPv4Network((where, address["prefixlen"]), strict=False))
    return list(collapse_addresses(networks))


def choose_subnet(
    taken: Iterable[IPv4Network],
    prefix: int = 22,
    candidates: Sequence[IPv4Network] = CANDIDATES,
) -> IPv4Network:
    """The first /*prefix* network of *candidates*, in order, that overlaps none of *taken*.

    Raises UsageError for a prefix outside 8 to 30, HostNotReady when all is taken.
    """
    if not _WIDEST <= prefix <= _NARROWEST:
        raise UsageError(
            f"a subnet can't have the prefix length {prefix}",
            hint=f"use {_WIDEST} to {_NARROWEST}",
        )
    taken = list(taken)
    for candidate in candidates:
        if candidate.prefixlen > prefix:
            continue
        near = [network for network in taken if network.overlaps(candidate)]
        for subnet in candidate.subnets(new_prefix=prefix):
            if not any(network.overlaps(subnet) for network in near):
                return subnet
    raise HostNotReady(
        f"no free /{prefix} subnet: the host's routes cover all of "
        + ", ".join(map(str, candidates)),
        hint="set the subnet in the settings, or a longer prefix",
    )
