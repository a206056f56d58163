"""The host's DNS resolvers, as resolv.conf(5) names them."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import msgspec

from banger_dns.names import Labels, labels_of

DNS_PORT = 53
MOST_RESOLVERS = 3
"""As many as libc asks (MAXNS)."""

RESOLV_CONF = Path("/etc/resolv.conf")
RESOLVED_CONF = Path("/run/systemd/resolve/resolv.conf")
"""The servers behind systemd-resolved's stub."""
RESOLVED_STUBS = frozenset({"127.0.0.53", "127.0.0.54"})

_NAMESERVER = re.compile(r"^\s*nameserver\s+(\S+)", re.MULTILINE)
_SEARCH = re.compile(r"^\s*(?:search|domain)\s+(.*)$", re.MULTILINE)
_LARGEST_FILE = 64 << 10
_LARGEST_PORT = 65535
_WITH_PORT = re.compile(r"((?P<v4>[0-9.]+)|\[(?P<v6>[^]]+)\]):(?P<port>[0-9]{1,5})")


class Resolver(msgspec.Struct, frozen=True, order=True):
    """A server to ask; *address* is numeric and may have an IPv6 scope (``fe80::1%eth0``)."""

    address: str
    port: int = DNS_PORT

    def __str__(self) -> str:
        return self.address if self.port == DNS_PORT else f"{self.address} port {self.port}"

    def target(self) -> tuple[socket.AddressFamily, tuple[Any, ...]]:
        """Address family and socket address. Raises OSError for a scope that is not there."""
        flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        found = socket.getaddrinfo(self.address, self.port, type=socket.SOCK_DGRAM, flags=flags)
        return found[0][0], found[0][4]


class HostResolvers:
    """Call it for the host's resolvers of the moment; files are read when they have changed.

    In the place of systemd-resolved's stub the servers behind it are taken, when they can be
    read: asking the stub would loop where it asks this server in turn.
    """

    def __init__(self, path: Path = RESOLV_CONF, resolved_path: Path = RESOLVED_CONF) -> None:
        self._main = _watched(path)
        self._resolved = _watched(resolved_path)

    def __call__(self) -> tuple[Resolver, ...]:
        """At most three, in order; none when the file is missing or names none."""
        found = self._main()
        if any(resolver.address in RESOLVED_STUBS for resolver in found):
            found = self._resolved() or found
        return found[:MOST_RESOLVERS]


def parse_upstream(text: str) -> tuple[Resolver, ...]:
    """Resolvers like ``192.0.2.53, 192.0.2.54:5353, 2001:db8::53, [2001:db8::53]:5353``.

    Raises ValueError for one that is no address, and for more than are ever asked.
    """
    found: dict[Resolver, None] = {}
    for word in filter(None, (part.strip() for part in text.split(","))):
        form = _WITH_PORT.fullmatch(word)
        address, port = (form["v4"] or form["v6"], form["port"]) if form else (word, str(DNS_PORT))
        try:
            ip_address(address)
        except ValueError:
            raise ValueError(f"{word!r} is no address of a resolver") from None
        if not 0 < int(port) <= _LARGEST_PORT:
            raise ValueError(f"{word!r}: {port} is no port")
        found[Resolver(address, int(port))] = None
    if len(found) > MOST_RESOLVERS:
        raise ValueError(
            f"{len(found)} resolvers are more than the {MOST_RESOLVERS} that are asked"
        )
    return tuple(found)


def parse_resolv_conf(text: str) -> tuple[Resolver, ...]:
    """The resolvers in the text of a resolv.conf; what is no address is passed over."""
    found: dict[Resolver, None] = {}
    for word in _NAMESERVER.findall(text):
        try:
            ip_address(word)
        except ValueError:
            continue
        found[Resolver(word)] = None
    return tuple(found)


def search_domains(path: Path = RESOLV_CONF) -> tuple[Labels, ...]:
    """The host's own domains; the last ``search`` or ``domain`` counts. Blocks."""
    try:
        with path.open(errors="replace") as file:
            lines = _SEARCH.findall(file.read(_LARGEST_FILE))
    except OSError:
        return ()
    found = []
    for word in lines[-1].split() if lines else ():
        with suppress(ValueError):
            found.append(labels_of(word))
    return tuple(found)


def _watched(path: Path) -> Callable[[], tuple[Resolver, ...]]:
    seen: tuple[int, int, int] | None = None
    resolvers: tuple[Resolver, ...] = ()

    def read() -> tuple[Resolver, ...]:
        nonlocal seen, resolvers
        try:
            status = path.stat()
            state = (status.st_ino, status.st_mtime_ns, status.st_size)
            if state != seen:
                with path.open(errors="replace") as file:
                    resolvers = parse_resolv_conf(file.read(_LARGEST_FILE))
                seen = state
        except OSError:
            seen, resolvers = None, ()
        return resolvers

    return read
