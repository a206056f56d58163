"""Forgets connections that the rules would no longer let begin.

The kernel decides once for each connection how its addresses are changed, and whether it
passes, and keeps to it: rules that change meanwhile only count for new ones. For UDP what
the same two ports exchange is one connection, for ever if they keep on.

The format is ctnetlink's (``linux/netfilter/nfnetlink_conntrack.h``).
"""

from __future__ import annotations

import errno
import logging
import socket
import struct
from collections.abc import Callable
from ipaddress import IPv4Address

import msgspec

from banger_nat import netlink

log = logging.getLogger(__name__)

_NETLINK_NETFILTER = 12
_GET, _DELETE = 1 << 8 | 1, 1 << 8 | 2
_GENERIC = struct.pack("=BBH", socket.AF_INET, 0, 0)
_ORIGINAL, _REPLY, _STATUS, _ID, _ZONE = 1, 2, 3, 12, 18
_TUPLE_IP, _TUPLE_PROTOCOL = 1, 2
_SOURCE = 1
_NUMBER, _TO_PORT = 1, 3
_SOURCE_CHANGED, _DESTINATION_CHANGED = 1 << 4, 1 << 5
_PROTOCOLS = {socket.IPPROTO_TCP: "tcp", socket.IPPROTO_UDP: "udp"}


class Connection(msgspec.Struct, frozen=True):
    """``source`` began it, towards ``port`` (0 where the protocol has none); ``answers`` is who
    answers. ``masqueraded`` and ``led`` (to another destination) are what was done to it."""

    source: IPv4Address
    answers: IPv4Address
    protocol: str
    port: int
    masqueraded: bool
    led: bool


def forget(needle: bytes, matches: Callable[[Connection], bool]) -> int:
    """Forget the IPv4 connections that match; how many those were. For a thread.

    ``needle`` is in the packed form of each: large tables are looked through fast. What can't
    be done is only logged: the connections then end by themselves.
    """
    try:
        with netlink.connect(_NETLINK_NETFILTER) as sock:
            found = [
                message[len(_GENERIC) :]
                for message in netlink.dump(sock, _GET, _GENERIC)
                if needle in message
            ]
            found = [each for each in found if matches(_connection(each))]
            for each in found:
                _delete(sock, each)
            return len(found)
    except OSError as error:
        log.warning("connections that ended by a change of rules may go on: %s", error)
        return 0


def _delete(sock: socket.socket, data: bytes) -> None:
    """The id makes sure that it is no newer one between the same ports."""
    key = [
        netlink.attribute(kind | (0x8000 if kind == _ORIGINAL else 0), value)
        for kind, value in netlink.split_attributes(data)
        if kind in (_ORIGINAL, _ID, _ZONE)
    ]
    try:
        netlink.tell(sock, _DELETE, _GENERIC + b"".join(key))
    except OSError as error:
        if error.errno != errno.ENOENT:  # it has just ended
            raise


def _connection(data: bytes) -> Connection:
    parts = dict(netlink.split_attributes(data))
    source, protocol, port = _tuple(parts[_ORIGINAL])
    answers, _, _ = _tuple(parts[_REPLY])
    (status,) = struct.unpack("!I", parts[_STATUS])
    return Connection(
        source,
        answers,
        protocol,
        port,
        bool(status & _SOURCE_CHANGED),
        bool(status & _DESTINATION_CHANGED),
    )


def _tuple(data: bytes) -> tuple[IPv4Address, str, int]:
    """Source, protocol, destination's port."""
    parts = dict(netlink.split_attributes(data))
    addresses = dict(netlink.split_attributes(parts[_TUPLE_IP]))
    protocol = dict(netlink.split_attributes(parts[_TUPLE_PROTOCOL]))
    port = int.from_bytes(protocol.get(_TO_PORT, b""), "big")
    number = protocol[_NUMBER][0]
    return IPv4Address(addresses[_SOURCE]), _PROTOCOLS.get(number, str(number)), port
