"""A port of the host that leads to a port of a VM: ``[ADDRESS:]PORT:GUESTPORT[/tcp|udp]``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Address

import msgspec

from banger_nat.egress import LARGEST_PORT, NOTHING

ANY = IPv4Address("0.0.0.0")  # noqa: S104 - all addresses of the host is what is meant
PROTOCOLS = ("tcp", "udp")

_ADDRESS = r"[0-9]+\.[0-9.]+"
_PORT = r"[0-9]{1,5}"
_FORM = re.compile(
    rf"((?P<address>{_ADDRESS}):)?(?P<host>{_PORT}):(?P<guest>{_PORT})(/(?P<protocol>[a-z]+))?"
)
_CHOICE = re.compile(rf"((?P<address>{_ADDRESS}):)?(?P<host>{_PORT})(/(?P<protocol>[a-z]+))?")


class Publication(msgspec.Struct, frozen=True, order=True):
    """``address`` 0.0.0.0 is every address of the host, 127.0.0.1 with it."""

    host_port: int
    protocol: str
    address: IPv4Address
    guest_port: int

    @classmethod
    def parse(cls, text: str) -> Publication:
        """Raises ValueError that says what is wrong with the text and what is right."""
        form = _FORM.fullmatch(text)
        if form is None:
            raise ValueError(
                f"{text!r} is no published port: write 8080:80, 127.0.0.1:8080:80 or 5353:53/udp"
            )
        return cls(
            _port(text, form["host"]),
            _protocol(text, form["protocol"] or "tcp"),
            _address(text, form["address"]),
            _port(text, form["guest"]),
        )

    @property
    def place(self) -> str:
        """Where it is on the host, for people."""
        return f"{self.address}:{self.host_port}/{self.protocol}"

    def __str__(self) -> str:
        return f"{self.address}:{self.host_port}:{self.guest_port}/{self.protocol}"

    def overlaps(self, other: Publication) -> bool:
        """Both want the same packets."""
        return (self.host_port, self.protocol) == (other.host_port, other.protocol) and (
            self.address == other.address or ANY in (self.address, other.address)
        )


class Choice(msgspec.Struct, frozen=True):
    """Published ports as they are named to be removed: ``[ADDRESS:]PORT[/tcp|udp]``."""

    host_port: int
    address: IPv4Address | None = None
    protocol: str | None = None

    @classmethod
    def parse(cls, text: str) -> Choice:
        """Raises ValueError."""
        form = _CHOICE.fullmatch(text)
        if form is None:
            raise ValueError(f"{text!r} is no port of the host: write 8080 or 8080/udp")
        return cls(
            _port(text, form["host"]),
            None if form["address"] is None else _address(text, form["address"]),
            None if form["protocol"] is None else _protocol(text, form["protocol"]),
        )

    def picks(self, publication: Publication) -> bool:
        return (
            publication.host_port == self.host_port
            and self.address in (None, publication.address)
            and self.protocol in (None, publication.protocol)
        )


def parse_publications(texts: Sequence[str]) -> tuple[Publication, ...]:
    """Raises ValueError, also for two that overlap."""
    if list(texts) == [NOTHING]:
        return ()
    found: list[Publication] = []
    for text in texts:
        publication = Publication.parse(text)
        for other in found:
            if publication.overlaps(other):
                raise ValueError(f"{text!r} and '{other}' are the same port of the host")
        found.append(publication)
    return tuple(sorted(found))


def _port(text: str, digits: str) -> int:
    if not 1 <= int(digits) <= LARGEST_PORT:
        raise ValueError(f"{text!r}: {digits} is no port, which are 1 to {LARGEST_PORT}")
    return int(digits)


def _protocol(text: str, name: str) -> str:
    if name not in PROTOCOLS:
        raise ValueError(f"{text!r}: {name!r} is neither tcp nor udp")
    return name


def _address(text: str, address: str | None) -> IPv4Address:
    try:
        return IPv4Address(address) if address is not None else ANY
    except ValueError:
        raise ValueError(f"{text!r}: {address!r} is no IPv4 address of this host") from None
