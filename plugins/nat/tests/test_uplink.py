"""Which routes count. tests/host has the kernel say them."""

from __future__ import annotations

import struct

import pytest

from banger_nat.netlink import attribute
from banger_nat.uplink import DefaultRoute, parse_default

OIF, PRIORITY, MULTIPATH = 4, 6, 9


def route(
    *attributes: bytes, bits: int = 0, table: int = 254, kind: int = 1, flags: int = 0
) -> bytes:
    return struct.pack("=BBBBBBBBI", 2, bits, 0, 0, table, 3, 0, kind, flags) + b"".join(attributes)


def number(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=I", value))


def hop(interface: int, flags: int = 0) -> bytes:
    return struct.pack("=HBBi", 8, flags, 0, interface)


@pytest.mark.parametrize(
    ("message", "found"),
    [
        (route(number(OIF, 3)), DefaultRoute(0, (3,))),
        (route(number(PRIORITY, 100), number(OIF, 3)), DefaultRoute(100, (3,))),
        (route(attribute(MULTIPATH, hop(3) + hop(4) + hop(5, 1))), DefaultRoute(0, (3, 4))),
        (route(number(OIF, 3), bits=24), None),
        (route(number(OIF, 3), table=255), None),
        (route(number(OIF, 3), kind=7), None),  # unreachable
        (route(number(OIF, 3), flags=1), None),
        (route(number(OIF, 3), flags=16), None),
    ],
)
def test_default_routes(message: bytes, found: DefaultRoute | None) -> None:
    assert parse_default(message) == found
