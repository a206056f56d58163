"""What a VM may reach beyond its bridge: ``NETWORK[:PORT[-PORT][/tcp|udp]]``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import msgspec

NOTHING = "none"
EVERYTHING = IPv4Network("0.0.0.0/0")
LARGEST_PORT = 65535

_FORM = re.compile(
    r"(?P<network>[0-9./]+)(:(?P<first>[0-9]{1,5})(-(?P<last>[0-9]{1,5}))?(/(?P<protocol>tcp|udp))?)?"
)


class Egress(msgspec.Struct, frozen=True):
    """One network, all of it or some ports. ``protocol`` "" is TCP and UDP."""

    network: IPv4Network
    ports: tuple[int, int] | None = None
    protocol: str = ""

    @classmethod
    def parse(cls, text: str) -> Egress:
        """Raises ValueError that says what is wrong with the text and what is right."""
        form = _FORM.fullmatch(text)
        if form is None:
            raise ValueError(
                f"{text!r} is no network with ports: write 10.1.0.0/16, 10.1.0.0/16:443, "
                f"192.0.2.7:80-90/tcp, or {NOTHING!r} alone"
            )
        network = _network(form["network"])
        if form["first"] is None:
            return cls(network)
        ports = (int(form["first"]), int(form["last"] or form["first"]))
        if not 1 <= ports[0] <= ports[1] <= LARGEST_PORT:
            raise ValueError(f"{text!r}: ports are 1 to {LARGEST_PORT}, the smaller one first")
        return cls(network, ports, form["protocol"] or "")

    @property
    def match(self) -> str:
        """In the syntax of nft(8); "" is everything."""
        parts = []
        if self.network != EVERYTHING:
            parts.append(f"ip daddr {self.network}")
        if self.ports is not None:
            first, last = self.ports
            ports = str(first) if first == last else f"{first}-{last}"
            if self.protocol:
                parts.append(f"{self.protocol} dport {ports}")
            else:
                parts.append(f"meta l4proto {{ tcp, udp }} th dport {ports}")
        return " ".join(parts)

    def grants(self, destination: IPv4Address, protocol: str, port: int) -> bool:
        if destination not in self.network:
            return False
        if self.ports is None:
            return True
        protocols = (self.protocol,) if self.protocol else ("tcp", "udp")
        return protocol in protocols and self.ports[0] <= port <= self.ports[1]


def parse_egress(texts: Sequence[str]) -> tuple[Egress, ...]:
    """No texts: everything. Raises ValueError."""
    if not texts:
        return (Egress(EVERYTHING),)
    if NOTHING in texts:
        if len(texts) > 1:
            raise ValueError(f"{NOTHING!r} can't be combined with {len(texts) - 1} more")
        return ()
    return tuple(dict.fromkeys(Egress.parse(text) for text in texts))


def _network(text: str) -> IPv4Network:
    try:
        address = IPv4Interface(text)
    except ValueError:
        raise ValueError(f"{text!r} is no IPv4 network: write 10.1.0.0/16 or 192.0.2.7") from None
    if address.ip != address.network.network_address:
        raise ValueError(f"{text!r} has bits beyond its prefix: {address.network} is meant?")
    return address.network
