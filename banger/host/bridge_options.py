"""An option of bridges that pyroute2 does not know."""

from __future__ import annotations

import socket
import struct

from banger.host.links import plain_errors

# linux/rtnetlink.h, linux/if_link.h, linux/if_bridge.h
_RTM_NEWLINK = 16
_NLM_F_REQUEST_ACK = 0x1 | 0x4
_NLMSG_ERROR = 2
_IFLA_LINKINFO = 18
_IFLA_INFO_KIND = 1
_IFLA_INFO_DATA = 2
_IFLA_BR_MULTI_BOOLOPT = 46
_BR_BOOLOPT_NO_LL_LEARN = 1 << 0
_NESTED = 0x8000


def ignore_link_local_senders(index: int) -> None:
    """Keep the bridge with this index from learning who sends to 01:80:c2:00:00:0x.

    Frames to that group (LLDP) pass no hook of nftables before the bridge learns their
    sender, so by them a guest could draw another's traffic to itself, whatever is pinned.
    Needs Linux 5.0. Raises as `plain_errors` does.
    """
    option = struct.pack("=II", _BR_BOOLOPT_NO_LL_LEARN, _BR_BOOLOPT_NO_LL_LEARN)
    data = _attribute(_IFLA_INFO_DATA | _NESTED, _attribute(_IFLA_BR_MULTI_BOOLOPT, option))
    info = _attribute(_IFLA_INFO_KIND, b"bridge\0") + data
    body = struct.pack("=BxHiII", socket.AF_UNSPEC, 0, index, 0, 0)
    body += _attribute(_IFLA_LINKINFO | _NESTED, info)
    header = struct.pack("=IHHII", 16 + len(body), _RTM_NEWLINK, _NLM_F_REQUEST_ACK, 1, 0)
    with (
        plain_errors("keep the bridge from learning link-local senders"),
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as netlink,
    ):
        netlink.send(header + body)
        answer = netlink.recv(1 << 16)
        (kind,) = struct.unpack_from("=H", answer, 4)
        (code,) = struct.unpack_from("=i", answer, 16)
        assert kind == _NLMSG_ERROR, kind
        if code:
            raise OSError(-code, "")


def _attribute(kind: int, payload: bytes) -> bytes:
    padding = -len(payload) % 4
    return struct.pack("=HH", 4 + len(payload), kind) + payload + bytes(padding)
