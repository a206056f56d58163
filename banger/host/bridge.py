"""The bridge all VMs are on, with the host's address in their subnet."""

from __future__ import annotations

import hashlib
import socket
from ipaddress import IPv4Interface

import msgspec
from pyroute2 import IPRoute

from banger.host import links
from banger.host.bridge_options import ignore_link_local_senders
from banger.kernel.errors import Conflict


class Bridge(msgspec.Struct, frozen=True):
    """A bridge. ``gateway`` is its first IPv4 address: what guests have as their router."""

    name: str
    index: int
    gateway: IPv4Interface | None


def ensure_bridge(name: str, gateway: IPv4Interface) -> Bridge:
    """Make the bridge *name* with the address *gateway*, or adopt the one that is there.

    Afterwards it is up, forwards at once (no spanning tree, no forward delay), keeps its
    MAC whatever ports come and go, and has no IPv6 of its own. Idempotent; a failure
    half way through making it leaves no bridge.

    A bridge made here is recognised by its MAC: as long as no port of it is up, other
    IPv4 addresses on it are replaced (the subnet was changed in the settings).

    Raises Conflict if *name* is another kind of interface, or a bridge that has an
    address of another subnet and is in use or not ours.
    """
    links.check_name(name)
    with links.netlink(f"set up bridge {name} with address {gateway}") as ipr:
        found = links.find_link(ipr, name)
        if found is None:
            ipr.link(
                "add",
                ifname=name,
                kind="bridge",
                address=_mac(name),
                br_stp_state=0,
                br_forward_delay=0,
            )
        elif found.kind != "bridge":
            raise _not_a_bridge(found)
        index = found.index if found else links.index_of(name)
        assert index is not None
        try:
            if found:
                _clear_stale_addresses(ipr, found, gateway)
                # A bridge follows its ports' lowest MAC until one is set, be it the same.
                ipr.link("set", index=index, kind="bridge", address=found.mac, br_stp_state=0)
                # Refused as long as the spanning tree is on; the kernel looks at it first.
                ipr.link("set", index=index, kind="bridge", br_forward_delay=0)
            links.silence_ipv6(name)
            ignore_link_local_senders(index)
            if gateway not in _addresses(ipr, index):
                ipr.addr(
                    "replace",
                    index=index,
                    address=str(gateway.ip),
                    prefixlen=gateway.network.prefixlen,
                )
            ipr.link("set", index=index, state="up")
        except BaseException:
            if found is None:
                ipr.link("del", index=index)
            raise
    return Bridge(name, index, gateway)


def find_bridge(name: str) -> Bridge | None:
    """The bridge *name*, or None if there is no bridge (but perhaps another interface)."""
    links.check_name(name)
    with links.netlink(f"look at bridge {name}") as ipr:
        found = links.find_link(ipr, name)
        if found is None or found.kind != "bridge":
            return None
        addresses = _addresses(ipr, found.index)
        return Bridge(found.name, found.index, addresses[0] if addresses else None)


def delete_bridge(name: str) -> None:
    """Delete the bridge *name*; its ports stay, without a bridge. None there: nothing to do.

    Raises Conflict if *name* is another kind of interface.
    """
    links.check_name(name)
    with links.netlink(f"delete bridge {name}") as ipr:
        found = links.find_link(ipr, name)
        if found is None:
            return
        if found.kind != "bridge":
            raise _not_a_bridge(found)
        links.delete_link(ipr, name)


def _clear_stale_addresses(ipr: IPRoute, bridge: links.Link, gateway: IPv4Interface) -> None:
    stale = [address for address in _addresses(ipr, bridge.index) if address != gateway]
    foreign = [address for address in stale if address.network != gateway.network]
    if not stale:
        return
    in_use = any(link.up for link in links.all_links(ipr) if link.master == bridge.index)
    if bridge.mac == _mac(bridge.name) and not in_use:
        for address in stale:
            # Deleting a subnet's first address takes its secondary ones along.
            if address in _addresses(ipr, bridge.index):
                ipr.addr(
                    "del",
                    index=bridge.index,
                    address=str(address.ip),
                    prefixlen=address.network.prefixlen,
                )
    elif foreign:
        raise Conflict(
            f"bridge {bridge.name} already has the address {foreign[0]}, not {gateway}",
            hint="stop the VMs on it" if in_use else "choose another bridge name or that subnet",
        )


def _addresses(ipr: IPRoute, index: int) -> list[IPv4Interface]:
    return [
        IPv4Interface((message.get_attr("IFA_LOCAL"), message["prefixlen"]))
        for message in ipr.addr("dump", family=socket.AF_INET, index=index)
    ]


def _mac(name: str) -> str:
    """A locally administered unicast MAC that is the same for this name on every start."""
    digest = hashlib.sha256(f"banger bridge {name}".encode()).digest()
    return ":".join(f"{byte:02x}" for byte in (0x02, *digest[:5]))


def _not_a_bridge(link: links.Link) -> Conflict:
    return Conflict(
        f"interface {link.name} exists and is not a bridge ({link.kind or 'hardware'})",
        hint="choose another bridge name",
    )
