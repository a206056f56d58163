"""Names that are nobody's business upstream.

RFC 6761 (localhost, invalid, test), 6762 (local), 7686 (onion), 9476 (alt), 9462
(resolver.arpa), 6303 (reverse names of addresses that mean "this machine" or nothing).
Private ranges' reverse names are not here: the host's resolver may know them.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from banger_dns.authority import NEGATIVE_TTL_S, Node, authoritative, soa_data
from banger_dns.names import IN_ADDR_ARPA, Labels, labels_of, reverse_of, wire_of
from banger_dns.wire import AT_QUESTION, Outcome, Type, record

_LOCALHOST = labels_of("localhost")
_RESOLVER_ARPA = labels_of("resolver.arpa")
_LOOPBACK_6 = labels_of("1." + "0." * 31 + "ip6.arpa")

_APEXES = frozenset(
    {
        *map(labels_of, ("localhost", "invalid", "test", "local", "onion", "alt")),
        _RESOLVER_ARPA,
        _LOOPBACK_6,
        *((octet, *IN_ADDR_ARPA) for octet in (b"0", b"127")),
        (b"254", b"169", *IN_ADDR_ARPA),
        reverse_of(IPv4Address("255.255.255.255")),
    }
)
_DEPTHS = sorted({len(apex) for apex in _APEXES})
_SOA = soa_data(_LOCALHOST, labels_of("nobody.invalid"), 1)

_TO_LOCALHOST: Node = {
    Type.PTR: [record(AT_QUESTION, Type.PTR, NEGATIVE_TTL_S, wire_of(_LOCALHOST))]
}
_LOCALHOST_NODE: Node = {
    Type.A: [record(AT_QUESTION, Type.A, NEGATIVE_TTL_S, IPv4Address("127.0.0.1").packed)],
    Type.AAAA: [record(AT_QUESTION, Type.AAAA, NEGATIVE_TTL_S, IPv6Address("::1").packed)],
}
_POINTERS: dict[Labels, Node] = {
    reverse_of(IPv4Address("127.0.0.1")): _TO_LOCALHOST,
    _LOOPBACK_6: _TO_LOCALHOST,
}


def find_special(labels: Labels, qtype: int) -> Outcome | None:
    """The reply for a special-use name; None for an ordinary one."""
    for depth in _DEPTHS:
        apex = labels[-depth:]
        if apex in _APEXES:
            return authoritative(_node(labels, apex), qtype, apex, _SOA)
    return None


def _node(labels: Labels, apex: Labels) -> Node | None:
    if apex == _LOCALHOST:
        return _LOCALHOST_NODE
    pointer = _POINTERS.get(labels)
    if pointer is not None:
        return pointer
    return {} if labels == apex or apex == _RESOLVER_ARPA else None
