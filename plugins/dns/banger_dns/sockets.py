"""The sockets to listen on, bound before anything is served."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import ip_address
from types import TracebackType

from banger_dns.errors import CannotListen
from banger_dns.owner import describe_owner

_BACKLOG = 64
_TRIES_FOR_ANY_PORT = 20
_IP_FREEBIND = 15  # linux/in.h; Python has no name for it


class Sockets:
    """A UDP and a TCP socket for each address; closed at the end of a ``with`` block."""

    def __init__(self) -> None:
        self.udp: list[socket.socket] = []
        self.tcp: list[socket.socket] = []

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Address and port of each listener."""
        return [sock.getsockname()[:2] for sock in self.udp]

    def close(self) -> None:
        for sock in (*self.udp, *self.tcp):
            sock.close()

    def __enter__(self) -> Sockets:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def bind(listeners: Iterable[tuple[str, int]], *, absent: bool = False) -> Sockets:
    """Bind numeric addresses and ports, all of them or none. Port 0 takes any free one.

    With *absent* an address need not be there (IP_FREEBIND, ip(7)): the sockets work from the
    moment it is, and again after it was gone for a while. Raises CannotListen, which names the
    process that has the port where that can be found out.
    """
    sockets = Sockets()
    try:
        for address, port in listeners:
            if ip_address(address).is_unspecified:
                raise CannotListen(
                    f"DNS can't listen on {address}, that is on all addresses",
                    hint="name the bridge's or a loopback address",
                )
            udp, tcp = _bind_both(address, port, absent)
            sockets.udp.append(udp)
            sockets.tcp.append(tcp)
    except BaseException:
        sockets.close()
        raise
    return sockets


def _bind_both(address: str, port: int, absent: bool) -> tuple[socket.socket, socket.socket]:
    for _ in range(_TRIES_FOR_ANY_PORT):
        tcp = _bind(address, port, socket.SOCK_STREAM, absent)
        try:
            return _bind(address, tcp.getsockname()[1], socket.SOCK_DGRAM, absent), tcp
        except BaseException as error:
            tcp.close()
            # What is free for TCP need not be for UDP.
            if port or not isinstance(error, CannotListen):
                raise
    raise CannotListen(f"no free port on {address}", hint="name a port")


def _bind(address: str, port: int, kind: socket.SocketKind, absent: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, kind)
    try:
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if absent:
            sock.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        sock.bind((address, port))
        if kind == socket.SOCK_STREAM:
            sock.listen(_BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise _explained(error, address, port, kind) from error
    return sock


def _explained(error: OSError, address: str, port: int, kind: socket.SocketKind) -> CannotListen:
    protocol = "TCP" if kind == socket.SOCK_STREAM else "UDP"
    where = f"{protocol} port {port} of {address}"
    if error.errno == errno.EADDRINUSE:
        owner = "somebody"
        with suppress(OSError):
            owner = describe_owner(address, port, kind)
        return CannotListen(
            f"{where} is taken by {owner}", hint="stop it, or choose another address or port"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return CannotListen(f"this host has no address {address}", hint="is the bridge there?")
    if error.errno in (errno.EACCES, errno.EPERM):
        return CannotListen(f"no right to listen on {where}", hint="run the daemon as root")
    return CannotListen(f"can't listen on {where}: {error.strerror}", hint="see ip address")
