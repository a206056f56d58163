"""From a VM's options to nftables rules, as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Network

from banger.capabilities import Network, Rules

from banger_nat.options import NatOptions
from banger_nat.publication import ANY, Publication

LOOPBACK = IPv4Network("127.0.0.0/8")


def rules_for(
    address: str, network: Network, options: NatOptions, uplinks: Sequence[str] | None
) -> Rules:
    """``uplinks`` are the interfaces that lead out; None: all but the bridge.

    Guests never get past the base's rules: what is not accepted here stays dropped.
    """
    out = _out(network.bridge, uplinks) if options.enabled else ""
    published = options.published
    reached = [entry.match for entry in options.reachable] if out else []
    outside = [each for each in published if each.address not in LOOPBACK]
    return Rules(
        prerouting=tuple(_prerouting(each, address) for each in outside),
        output=tuple(_output(each, address) for each in published),
        forward=(
            *(_joined(_from(address, network, out), match, "accept") for match in reached),
            *(_inward(each, address, network) for each in outside),
        ),
        postrouting=(
            *([f"{out} ip saddr {address} masquerade"] if reached else []),
            *(_hairpins(address, network) if published else []),
        ),
    )


def _out(bridge: str, uplinks: Sequence[str] | None) -> str:
    """What leaves by an uplink; "" while there is none."""
    if uplinks is None:
        return f'oifname != {{ "{bridge}", "lo" }}'
    names = ", ".join(f'"{name}"' for name in uplinks)
    return f"oifname {{ {names} }}" if names else ""


def _from(address: str, network: Network, out: str) -> str:
    return f'iifname "{network.bridge}" {out} ip saddr {address}'


def _prerouting(each: Publication, address: str) -> str:
    return f"{_here(each)} ip daddr != {LOOPBACK} {_dnat(each, address)}"


def _output(each: Publication, address: str) -> str:
    return f"{_here(each)} {_dnat(each, address)}"


def _here(each: Publication) -> str:
    if each.address == ANY:
        return "meta nfproto ipv4 fib daddr type local"
    return f"ip daddr {each.address}"


def _dnat(each: Publication, address: str) -> str:
    return f"{each.protocol} dport {each.host_port} dnat ip to {address}:{each.guest_port}"


def _inward(each: Publication, address: str, network: Network) -> str:
    return (
        f'oifname "{network.bridge}" ip daddr {address} {each.protocol} dport {each.guest_port} '
        f"ct status dnat ct original proto-dst {each.host_port} accept"
    )


def _hairpins(address: str, network: Network) -> Iterator[str]:
    """A VM would answer its neighbour directly, past the host, which then could not undo its
    part; and 127.0.0.1 would be the VM itself."""
    yield (
        f'oifname "{network.bridge}" ip daddr {address} ct status dnat '
        f"ip saddr {{ {network.subnet}, {LOOPBACK} }} masquerade"
    )


def _joined(*parts: str) -> str:
    return " ".join(filter(None, parts))
