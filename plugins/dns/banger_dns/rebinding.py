"""Protection from DNS rebinding: public names must not point to the VMs or to loopback.

A web page of a public name could otherwise reach a service that trusts its neighbours. A
reply is refused as a whole, in whatever section the address stands, and also for addresses
hinted at by HTTPS and SVCB records or embedded in IPv6 ones. Pi-hole's 0.0.0.0 for blocked
names and DNS block lists that answer 127.0.0.x are refused likewise.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from banger_dns.errors import Malformed
from banger_dns.replies import Record, options_of
from banger_dns.wire import Type

Network = IPv4Network | IPv6Network

ALWAYS_REFUSED: tuple[Network, ...] = (
    IPv4Network("0.0.0.0/8"),
    IPv4Network("127.0.0.0/8"),
    IPv4Network("169.254.0.0/16"),  # link-local, with the clouds' metadata service
    IPv6Network("::/127"),
    IPv6Network("fe80::/10"),
    IPv6Network("fd00:ec2::254/128"),  # the metadata service of one cloud
)

# IPv6 addresses that stand for the IPv4 address in their last 32 bits: compatible, mapped
# (RFC 4291, 2.5.5) and translated (RFC 6052).
_EMBEDDING = frozenset(
    IPv6Address(prefix).packed[:12] for prefix in ("::", "::ffff:0:0", "64:ff9b::")
)
# RFC 9460, 14.3.2: the size of one address by the key of the hint.
_HINTS = {4: 4, 6: 16}


class RebindingGuard:
    """Knows the addresses that no public name may have: *networks* and `ALWAYS_REFUSED`."""

    def __init__(self, networks: Iterable[Network]) -> None:
        every = (*networks, *ALWAYS_REFUSED)
        # Mask and network as numbers, by the size of an address: replies can be long.
        self._networks = {
            size: [
                (int(network.netmask), int(network.network_address))
                for network in every
                if network.max_prefixlen == 8 * size
            ]
            for size in (4, 16)
        }

    def find(self, records: Iterable[Record]) -> IPv4Address | IPv6Address | None:
        """The first such address in *records*, if any. Raises Malformed."""
        for record in records:
            for packed in _addresses(record):
                if self._is_private(packed):
                    return ip_address(packed)
        return None

    def _is_private(self, packed: bytes) -> bool:
        number = int.from_bytes(packed)
        for mask, network in self._networks[len(packed)]:
            if number & mask == network:
                return True
        return packed[:12] in _EMBEDDING and self._is_private(packed[12:])


def _addresses(record: Record) -> Iterator[bytes]:
    if record.rtype in (Type.A, Type.AAAA):
        if len(record.data) != (4 if record.rtype == Type.A else 16):
            raise Malformed(f"an address of {len(record.data)} bytes")
        yield record.data
    elif record.rtype in (Type.SVCB, Type.HTTPS):
        for key, value in options_of(_parameters(record.data)):
            size = _HINTS.get(key)
            if size is not None:
                if len(value) % size:
                    raise Malformed("an address hint is cut off")
                for start in range(0, len(value), size):
                    yield value[start : start + size]


def _parameters(data: bytes) -> bytes:
    """What stands behind priority and target of an SVCB record (RFC 9460, 2.2)."""
    position = 2
    while position < len(data) and data[position]:
        if data[position] > 63:
            raise Malformed("the target of a service is compressed")
        position += 1 + data[position]
    return data[position + 1 :]
