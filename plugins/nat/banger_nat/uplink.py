"""The interfaces that lead out of this host: those of the default route, and its changes.

The kernel is asked and tells by rtnetlink (rtnetlink(7), ``linux/rtnetlink.h``): no program
is run and nothing is polled.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress

import msgspec
import trio
from banger.capabilities import Actor, HostNotReady, Inbox, UsageError

from banger_nat import netlink

BURST_S = 0.05
"""Taking an interface down or up comes as many messages: look once for all of them."""

_ROUTE = struct.Struct("=BBBBBBBBI")
_NEXT_HOP = struct.Struct("=HBBi")

_RTM_GETROUTE = 26
_RTA_OIF, _RTA_PRIORITY, _RTA_MULTIPATH = 4, 6, 9
_TABLE_MAIN, _UNICAST = 254, 1
_DEAD_OR_DOWN = 0x1 | 0x10

# A link that goes down takes its routes along, and IPv4 does not tell of those.
_GROUPS_LINK_ADDRESS_ROUTE = 0x1 | 0x10 | 0x40


class DefaultRoute(msgspec.Struct, frozen=True):
    metric: int
    interfaces: tuple[int, ...]
    """By index; more than one when it is shared out."""


def default_interfaces() -> tuple[str, ...]:
    """The interfaces of the default route with the lowest metric, () without any.

    Raises `HostNotReady` when the kernel does not say.
    """
    try:
        with netlink.connect(socket.NETLINK_ROUTE) as sock:
            body = _ROUTE.pack(socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0)
            found = [parse_default(answer) for answer in netlink.dump(sock, _RTM_GETROUTE, body)]
    except OSError as error:
        raise HostNotReady(f"can't read this host's routes: {error}") from None
    usable = [route for route in found if route is not None and route.interfaces]
    best = min(usable, key=lambda route: route.metric, default=DefaultRoute(0, ()))
    names = []
    for index in best.interfaces:
        with suppress(OSError):  # it has just gone
            names.append(socket.if_indextoname(index))
    return tuple(sorted(set(names)))


def interfaces() -> frozenset[str]:
    """The names of those there are."""
    return frozenset(name for _, name in socket.if_nameindex())


def parse_default(message: bytes) -> DefaultRoute | None:
    """A ``struct rtmsg`` with its attributes; None unless it is a usable default route of the
    main table."""
    family, bits, _, _, table, _, _, kind, flags = _ROUTE.unpack_from(message)
    if (family, bits, table, kind) != (socket.AF_INET, 0, _TABLE_MAIN, _UNICAST):
        return None
    if flags & _DEAD_OR_DOWN:
        return None
    metric, interfaces = 0, list[int]()
    for attribute, value in netlink.split_attributes(message[_ROUTE.size :]):
        if attribute == _RTA_PRIORITY:
            (metric,) = struct.unpack("=I", value)
        elif attribute == _RTA_OIF:
            interfaces += struct.unpack("=i", value)
        elif attribute == _RTA_MULTIPATH:
            interfaces += _live_hops(value)
    return DefaultRoute(metric, tuple(interfaces))


def _live_hops(data: bytes) -> Iterator[int]:
    while len(data) >= _NEXT_HOP.size:
        length, flags, _, interface = _NEXT_HOP.unpack_from(data)
        if not flags & _DEAD_OR_DOWN:
            yield interface
        data = data[netlink.aligned(max(length, _NEXT_HOP.size)) :]


class UplinkWatch(Actor):
    """Calls ``look`` at its start and whenever routes, addresses or links have changed."""

    name = "uplink"

    def __init__(self, look: Callable[[], Awaitable[None]]) -> None:
        self._look = look

    async def run(self, inbox: Inbox) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch)
            async for envelope in inbox:
                with envelope:
                    raise UsageError(f"{self.name} answers no requests")
            nursery.cancel_scope.cancel()

    async def _watch(self) -> None:
        with netlink.connect(socket.NETLINK_ROUTE, groups=_GROUPS_LINK_ADDRESS_ROUTE) as sock:
            sock.setblocking(False)
            while True:
                await self._look()
                await trio.lowlevel.wait_readable(sock)
                await trio.sleep(BURST_S)
                _drain(sock)


def _drain(sock: socket.socket) -> None:
    while True:
        try:
            sock.recv(netlink.CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            # Messages were lost, which does not matter to one who looks anyway.
            if error.errno != errno.ENOBUFS:
                raise
