"""The VMs' names: the zone, and the reverse zone of their subnet."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address

import msgspec

from banger_dns.authority import Node, authoritative, soa_data
from banger_dns.names import IN_ADDR_ARPA, Labels, labels_of, octets_of, wire_of
from banger_dns.wire import AT_QUESTION, Outcome, Type, record

POSITIVE_TTL_S = 10
"""How long others may remember an address. Short: a name follows its VM's life."""

Address = IPv4Address | IPv6Address

_EMPTY: Node = {}


class Host(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A host, with names relative to the zone. Aliases answer with its addresses directly."""

    name: str
    addresses: tuple[Address, ...]
    aliases: tuple[str, ...] = ()


class Zone:
    """Names to addresses and back. Changes take effect with the next query.

    *name* is the zone, of one or more labels; *subnet* the VMs' network, whose reverse names
    are answered here too; *address* where guests reach this server. The zone is its own name
    server, so every name in it is free for hosts. There is no reverse zone for IPv6. Raises
    ValueError for a name that can't be a zone's.
    """

    def __init__(self, name: str, *, subnet: IPv4Network, address: IPv4Address) -> None:
        self.labels = labels_of(name)
        if self.labels[-1] == b"arpa":
            raise ValueError(f"the zone can't be {name!r}: arpa belongs to the Internet")
        self.subnet = subnet
        self.address = address
        self.version = int(time.time())
        """Grows with each change; also the SOA's serial."""
        self._hosts: dict[Labels, Host] = {}
        self._owners: dict[Labels, Labels] = {}
        self._nodes: dict[Labels, Node] = {}
        self._inner: Counter[Labels] = Counter()
        self._pointers: dict[IPv4Address, Labels] = {}
        # As many octets as it takes to tell whether a reverse name is in the subnet.
        self._deciding_octets = -(-subnet.prefixlen // 8)
        self._own_address = _addresses([address], Type.A)
        self._ns = [record(AT_QUESTION, Type.NS, POSITIVE_TTL_S, wire_of(self.labels))]

    @property
    def name(self) -> str:
        return ".".join(label.decode() for label in self.labels)

    def hosts(self) -> Iterator[Host]:
        """All hosts, oldest first."""
        return iter(tuple(self._hosts.values()))

    def set_host(
        self, name: str, addresses: Iterable[Address], aliases: Iterable[str] = ()
    ) -> None:
        """Add the host *name*, or replace what it was; names are relative to the zone.

        Raises ValueError, and changes nothing, for what is no name and for names that are taken.
        """
        host = Host(name, tuple(addresses), tuple(aliases))
        key = self._full(name)
        names = [key, *(self._full(alias) for alias in host.aliases)]
        for text, full in zip((name, *host.aliases), names, strict=True):
            if names.count(full) > 1:
                raise ValueError(f"the name {text!r} is given twice for host {name!r}")
            owner = self._owners.get(full, key)
            if owner != key:
                raise ValueError(f"the name {text!r} is taken by {self._hosts[owner].name!r}")
        self._drop(key)
        self._hosts[key] = host
        node: Node = {kind: _addresses(host.addresses, kind) for kind in (Type.A, Type.AAAA)}
        for full in names:
            self._owners[full] = key
            self._nodes[full] = node
            self._inner.update(self._above(full))
        for address in host.addresses:
            if isinstance(address, IPv4Address):
                self._pointers[address] = key
        self.version += 1

    def remove_host(self, name: str) -> None:
        """Forget the host *name* and its aliases; nothing happens when it is not there."""
        if self._drop(self._full(name)):
            self.version += 1

    def find(self, labels: Labels, qtype: int) -> Outcome | None:
        """The reply for a name of ours, of class IN; None when it is not ours."""
        if labels[-len(self.labels) :] == self.labels:
            return authoritative(self._node(labels), qtype, self.labels, self._soa())
        if labels[-2:] == IN_ADDR_ARPA:
            return self._find_reverse(labels, qtype)
        return None

    def _node(self, labels: Labels) -> Node | None:
        node = self._nodes.get(labels)
        if node is not None:
            return node
        if labels == self.labels:
            return {**self._apex_node(), Type.A: self._own_address}
        return _EMPTY if self._inner[labels] else None

    def _find_reverse(self, labels: Labels, qtype: int) -> Outcome | None:
        octets = octets_of(labels)
        if len(octets) < self._deciding_octets:
            return None
        if IPv4Address(octets.ljust(4, b"\0")) not in self.subnet:
            return None
        # A prefix longer than /24 has no zone of its own; its /24 stands in for it.
        apex = labels[-2 - min(self._deciding_octets, 3) :]
        return authoritative(self._reverse_node(labels, octets, apex), qtype, apex, self._soa())

    def _reverse_node(self, labels: Labels, octets: bytes, apex: Labels) -> Node | None:
        if labels == apex:
            return self._apex_node()
        if len(octets) != len(labels) - 2:
            return None
        if len(octets) < 4:
            return _EMPTY
        address = IPv4Address(octets)
        target = self.labels if address == self.address else self._pointers.get(address)
        if target is None:
            return None
        return {Type.PTR: [record(AT_QUESTION, Type.PTR, POSITIVE_TTL_S, wire_of(target))]}

    def _apex_node(self) -> Node:
        soa = record(AT_QUESTION, Type.SOA, POSITIVE_TTL_S, self._soa())
        return {Type.SOA: [soa], Type.NS: self._ns}

    def _soa(self) -> bytes:
        mailbox = (b"hostmaster", *self.labels)
        return soa_data(self.labels, mailbox, self.version & 0xFFFFFFFF)

    def _full(self, name: str) -> Labels:
        return labels_of(f"{name}.{self.name}")

    def _above(self, full: Labels) -> list[Labels]:
        """The names between *full* and the zone: they exist, without records."""
        return [full[start:] for start in range(1, len(full) - len(self.labels))]

    def _drop(self, key: Labels) -> bool:
        host = self._hosts.pop(key, None)
        if host is None:
            return False
        for full in [full for full, owner in self._owners.items() if owner == key]:
            del self._owners[full], self._nodes[full]
            for above in self._above(full):
                self._inner[above] -= 1
                if not self._inner[above]:
                    del self._inner[above]
        for address in host.addresses:
            # Another host may have got the address in the meantime.
            if isinstance(address, IPv4Address) and self._pointers.get(address) == key:
                del self._pointers[address]
        return True


def _addresses(addresses: Sequence[Address], kind: Type) -> list[bytes]:
    version = 4 if kind == Type.A else 6
    return [
        record(AT_QUESTION, kind, POSITIVE_TTL_S, address.packed)
        for address in addresses
        if address.version == version
    ]
