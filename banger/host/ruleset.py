"""The text of our nftables tables: what is wanted in, one transaction for ``nft -f`` out.

A table of nftables has one family. Pinning a TAP's MAC and address needs ``bridge``, routing
and NAT need ``inet``, so "our table" is two of one name that are only changed together.

What passes, with nothing added by capabilities:

- guest → guest, unless one of them is isolated;
- guest → host: UDP and TCP 53 on the gateway's address;
- host → guest, and the replies to all of it.

Everything else from or to the bridge is dropped. ``accept`` ends only our own chain: chains
of other tables on the same hook still have their say, so nothing is granted here that
somebody else forbids.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address

from banger.host.links import check_name
from banger.kernel.errors import UsageError
from banger.model.firewall import Pin, Rules

METADATA = "169.254.169.254"
"""Where clouds tell their VMs secrets: never for guests, whatever the host may reach."""

NAT_CHAINS = {
    "prerouting": "prerouting priority dstnat",
    # nft has no name for this one in family inet.
    "output": "output priority -100",
    "postrouting": "postrouting priority srcnat",
}
_FILTER_CHAINS = ("forward", "input")

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_MAX_RULE = 1000
_QUOTED = re.compile(r'"[^"]*"')
_ENDS_A_RULE = re.compile(r"""[;\\#$"']""")


def table_name(bridge: str) -> str:
    """The table's name: another one for each bridge, so two daemons do not meet.

    Names of interfaces hold no ``/``; and no bridge makes a keyword of nft.
    """
    check_name(bridge)
    return bridge if bridge.startswith("banger") else f"banger/{bridge}"


def render(
    table: str,
    bridge: str,
    gateway: IPv4Address,
    pins: Iterable[Pin],
    rules: Mapping[tuple[str, str], Rules],
) -> str:
    """Everything as one transaction that replaces what is there.

    ``rules`` are keyed by owner and key. Raises `UsageError` for a value that is not what
    it should be or could reach beyond its place.
    """
    pins = sorted(pins, key=lambda pin: pin.tap)
    for pin in pins:
        check_pin(pin)
    for each in rules.values():
        check_rules(each)
    added = [rules[key] for key in sorted(rules)]
    lines = [
        *_emptied(table),
        *_bridge_half(table, pins),
        *_inet_half(table, bridge, gateway, pins),
        *_added(table, added),
    ]
    return "\n".join(lines) + "\n"


def render_removal(table: str) -> str:
    """The transaction that removes our tables, there or not."""
    return "\n".join(_emptied(table)) + "\n"


def check_pin(pin: Pin) -> None:
    """Raise `UsageError` unless it is an interface, a MAC and an IPv4 address as Linux
    writes them."""
    check_name(pin.tap)
    if not _MAC.fullmatch(pin.mac):
        raise UsageError(f"{pin.mac!r} of {pin.tap} is not a MAC", hint="02:fc:0a:d5:00:02")
    try:
        IPv4Address(pin.address)
    except ValueError:
        raise UsageError(f"{pin.address!r} of {pin.tap} is not an IPv4 address") from None


def check_rules(rules: Rules) -> None:
    """Raise `UsageError` for text that is not one rule and nothing else."""
    for chain in (*NAT_CHAINS, *_FILTER_CHAINS):
        for text in getattr(rules, chain):
            _check_rule(chain, text)


def _check_rule(chain: str, text: str) -> None:
    bare = _QUOTED.sub("", text)
    depth = 0
    for brace in re.findall(r"[{}]", bare):
        depth += 1 if brace == "{" else -1
        if depth < 0:
            break
    legal = (
        bare.strip()
        and len(text) <= _MAX_RULE
        and text.isascii()
        and text.isprintable()
        and not _ENDS_A_RULE.search(bare)
        and depth == 0
    )
    if not legal:
        raise UsageError(
            f"{text[:80]!r} can't be a rule of the firewall's {chain}",
            hint="one nftables rule: printable ASCII on one line, braces and quotes closed, "
            "no ';', '#', '$' or '\\'",
        )


def _emptied(table: str) -> Iterator[str]:
    """Deleting needs the table to be there; adding one that is there changes nothing."""
    for family in ("bridge", "inet"):
        yield f"add table {family} {table}"
        yield f"delete table {family} {table}"


def _bridge_half(table: str, pins: list[Pin]) -> Iterator[str]:
    where = f"bridge {table}"
    pinned = [f'"{pin.tap}" . {pin.mac} . {pin.address}' for pin in pins]
    yield f'add table {where} {{ comment "made by banger, which restores it" ; }}'
    yield _set(where, "taps", "ifname", [f'"{pin.tap}"' for pin in pins])
    yield _set(where, "isolated", "ifname", [f'"{pin.tap}"' for pin in pins if pin.isolated])
    yield _set(where, "pins", "ifname . ether_addr . ipv4_addr", pinned)
    yield _base(where, "prerouting", "prerouting priority dstnat")
    yield f"add chain {where} from_guest"
    yield f"add rule {where} prerouting iifname @taps jump from_guest"
    # `ether type` reads the frame itself, so one with a VLAN tag is neither IP nor ARP here,
    # although `meta protocol` says what is in it. Probes with sender 0.0.0.0 go as well: they
    # ask whether an address is free, which the pool has decided; no answer means that it is.
    yield (
        f"add rule {where} from_guest ether type arp arp htype 1 arp ptype ip arp hlen 6 "
        "arp plen 4 iifname . ether saddr . arp saddr ip @pins "
        "iifname . arp saddr ether . arp saddr ip @pins accept"
    )
    yield f"add rule {where} from_guest ip daddr {METADATA} drop"
    # A DHCP server's answers. A client's requests come from 0.0.0.0, which is nobody's.
    yield f"add rule {where} from_guest udp sport 67 drop"
    yield (
        f"add rule {where} from_guest ether type ip iifname . ether saddr . ip saddr @pins accept"
    )
    # IPv6 and router advertisements with it, VLAN tags, LLC, everything else.
    yield f"add rule {where} from_guest drop"
    yield _base(where, "forward", "forward priority filter")
    yield f"add rule {where} forward iifname @isolated drop"
    yield f"add rule {where} forward oifname @isolated drop"


def _inet_half(table: str, bridge: str, gateway: IPv4Address, pins: list[Pin]) -> Iterator[str]:
    where = f"inet {table}"
    check_name(bridge)
    yield f'add table {where} {{ comment "made by banger, which restores it" ; }}'
    yield _set(where, "guests", "ipv4_addr", sorted({pin.address for pin in pins}))
    isolated = sorted({pin.address for pin in pins if pin.isolated})
    yield _set(where, "isolated", "ipv4_addr", isolated)
    yield f"add chain {where} guest_forward"
    yield f"add chain {where} guest_input"

    # A TAP that nobody pinned is not in the bridge's half: here its packets end.
    yield _base(where, "early", "prerouting priority raw")
    yield f'add rule {where} early iifname != "{bridge}" accept'
    yield f"add rule {where} early ip daddr {METADATA} drop"
    yield f"add rule {where} early ip saddr @guests accept"
    yield f"add rule {where} early drop"

    yield _base(where, "input", "input priority filter")
    yield f'add rule {where} input iifname != "{bridge}" accept'
    yield f"add rule {where} input ct state established,related accept"
    yield (
        f"add rule {where} input ip daddr {gateway} meta l4proto {{ tcp, udp }} th dport 53 accept"
    )
    yield f"add rule {where} input jump guest_input"
    yield f"add rule {where} input drop"

    yield _base(where, "forward", "forward priority filter")
    yield f'add rule {where} forward iifname != "{bridge}" oifname != "{bridge}" accept'
    # Frames between two VMs pass here too, where br_netfilter is on.
    among = f'add rule {where} forward iifname "{bridge}" oifname "{bridge}"'
    yield f"{among} ip saddr @isolated drop"
    yield f"{among} ip daddr @isolated drop"
    yield f"{among} accept"
    yield f"add rule {where} forward ct state established,related accept"
    yield f"add rule {where} forward jump guest_forward"
    yield f"add rule {where} forward drop"


def _added(table: str, added: list[Rules]) -> Iterator[str]:
    """What capabilities add. A NAT chain is made only if it is used: it costs every packet."""
    where = f"inet {table}"
    for chain, hook in NAT_CHAINS.items():
        texts = [text for rules in added for text in getattr(rules, chain)]
        if texts:
            yield f"add chain {where} {chain} {{ type nat hook {hook} ; policy accept ; }}"
        for text in texts:
            yield f"add rule {where} {chain} {text}"
    for chain in _FILTER_CHAINS:
        for rules in added:
            for text in getattr(rules, chain):
                yield f"add rule {where} guest_{chain} {text}"


def _base(where: str, chain: str, hook: str) -> str:
    return f"add chain {where} {chain} {{ type filter hook {hook} ; policy accept ; }}"


def _set(where: str, name: str, kind: str, elements: list[str]) -> str:
    listed = f"elements = {{ {', '.join(elements)} }} ; " if elements else ""
    return f"add set {where} {name} {{ type {kind} ; {listed}}}"
