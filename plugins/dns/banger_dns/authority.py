"""The replies of somebody who has the last word on a zone: records, NODATA, NXDOMAIN."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

from banger_dns.names import Labels, wire_of
from banger_dns.wire import AA, AT_QUESTION, Outcome, Rcode, Type, record

NEGATIVE_TTL_S = 5
"""How long others may remember that a name is not there. Short: VMs come and go."""

Node = Mapping[int, Sequence[bytes]]
"""The records of one name, by type, with the question's name as owner."""

_MINIMAL_ANY = record(AT_QUESTION, Type.HINFO, NEGATIVE_TTL_S, b"\x07RFC8482\x00")
_REFRESH_S, _RETRY_S, _EXPIRE_S = 3600, 600, 86400


def soa_data(server: Labels, mailbox: Labels, serial: int) -> bytes:
    """The data of an SOA record (RFC 1035, 3.3.13)."""
    return (
        wire_of(server)
        + wire_of(mailbox)
        + struct.pack(">IIIII", serial, _REFRESH_S, _RETRY_S, _EXPIRE_S, NEGATIVE_TTL_S)
    )


def authoritative(node: Node | None, qtype: int, apex: Labels, soa: bytes) -> Outcome:
    """Answer from *node*; None when the name does not exist. *soa* is the data of *apex*."""
    if node:
        if qtype == Type.ANY:
            # RFC 8482: something small instead of everything.
            return Outcome(body=_MINIMAL_ANY, counts=(1, 0, 0), flags=AA)
        records = node.get(qtype)
        if records:
            return Outcome(body=b"".join(records), counts=(len(records), 0, 0), flags=AA)
    rcode = Rcode.NXDOMAIN if node is None else Rcode.NOERROR
    authority = record(wire_of(apex), Type.SOA, NEGATIVE_TTL_S, soa)
    return Outcome(rcode=rcode, body=authority, counts=(0, 1, 0), flags=AA)
