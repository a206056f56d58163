"""DNS messages on the wire: reading queries, writing replies.

Queries are read by hand in the shape that all stub resolvers send: one question and at most
an OPT record. Anything else is checked by dnspython, ten times slower. Numbers are those of
RFC 1035 and, for EDNS, RFC 6891; Extended DNS Errors are RFC 8914's.
"""

from __future__ import annotations

import struct
from enum import IntEnum

import dns.message
import msgspec

from banger_dns.errors import Malformed
from banger_dns.names import LONGEST_NAME, Labels

HEADER = struct.Struct(">HHHHHH")
QUESTION_TAIL = struct.Struct(">HH")
RECORD_TAIL = struct.Struct(">HHIH")
_OPT = struct.Struct(">BHHBBHH")
OPTION = struct.Struct(">HH")

QR, AA, TC, RD, RA, AD, CD = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080, 0x0020, 0x0010
OPCODE = 0x7800
DO = 0x8000

AT_QUESTION = b"\xc0\x0c"
"""A compressed name: the one in the question, right behind the header."""

UDP_PAYLOAD = 1232
"""Bytes of UDP answer that pass everywhere without fragments (DNS flag day 2020)."""
PLAIN_UDP_PAYLOAD = 512
TCP_PAYLOAD = 65535

EDE_OPTION = 15

# What dnspython is given of queries of other shapes, lest they cost more than all others.
_LARGEST_ODD_QUERY = 512
_MOST_ODD_RECORDS = 4


class Type(IntEnum):
    A = 1
    NS = 2
    SOA = 6
    PTR = 12
    HINFO = 13
    AAAA = 28
    OPT = 41
    SVCB = 64
    HTTPS = 65
    TKEY = 249
    TSIG = 250
    IXFR = 251
    AXFR = 252
    MAILB = 253
    MAILA = 254
    ANY = 255


class Rcode(IntEnum):
    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5
    YXDOMAIN = 6
    BADVERS = 16


class Ede(IntEnum):
    OTHER = 0
    BLOCKED = 15
    NOT_AUTHORITATIVE = 20
    NOT_SUPPORTED = 21
    NO_REACHABLE_AUTHORITY = 22
    NETWORK_ERROR = 23


IN = 1


class Edns(msgspec.Struct, frozen=True, gc=False):
    """What the OPT record of a query says; *payload* in bytes."""

    payload: int
    version: int
    do: bool


class Query(msgspec.Struct, frozen=True, gc=False):
    """A query with one question. *question* is that section as it came, *labels* lower case."""

    id: int
    flags: int
    question: bytes
    labels: Labels
    qtype: int
    qclass: int
    edns: Edns | None

    @property
    def udp_limit(self) -> int:
        """How many bytes a UDP reply may have."""
        if self.edns is None:
            return PLAIN_UDP_PAYLOAD
        return min(max(self.edns.payload, PLAIN_UDP_PAYLOAD), UDP_PAYLOAD)

    @property
    def do(self) -> bool:
        return self.edns is not None and self.edns.do


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What to reply: *body* holds the records of all sections, *counts* how many in each."""

    rcode: int = Rcode.NOERROR
    body: bytes = b""
    counts: tuple[int, int, int] = (0, 0, 0)
    flags: int = 0
    ede: tuple[int, str] | None = None


def record(owner: bytes, rtype: int, ttl_s: int, rdata: bytes) -> bytes:
    """One resource record of class IN; *owner* is a name on the wire."""
    return owner + RECORD_TAIL.pack(rtype, IN, ttl_s, len(rdata)) + rdata


def failure(rcode: int, ede: int, text: str) -> Outcome:
    return Outcome(rcode=rcode, ede=(ede, text))


def read_query(packet: bytes) -> Query:
    """Read a query of opcode QUERY; the header must be there.

    Raises Malformed for whatever deserves FORMERR.
    """
    id_, flags, questions, answers, authorities, additionals = HEADER.unpack_from(packet)
    if questions != 1:
        raise Malformed(f"{questions} questions")
    labels, end = _read_name(packet, HEADER.size)
    if len(packet) < end + QUESTION_TAIL.size:
        raise Malformed("the question is cut off")
    qtype, qclass = QUESTION_TAIL.unpack_from(packet, end)
    end += QUESTION_TAIL.size
    if answers or authorities or additionals > 1:
        if answers + authorities + additionals > _MOST_ODD_RECORDS:
            raise Malformed("too many records")
        edns = _check_odd(packet)
    elif additionals:
        edns = _read_opt(packet, end) or _check_odd(packet)
    elif len(packet) == end:
        edns = None
    else:
        raise Malformed("bytes behind the end")
    return Query(id_, flags, packet[HEADER.size : end], labels, qtype, qclass, edns)


def _read_name(packet: bytes, position: int) -> tuple[Labels, int]:
    start, size, labels = position, len(packet), []
    while True:
        if position >= size:
            raise Malformed("the name is cut off")
        length = packet[position]
        position += 1
        if length == 0:
            break
        # A question comes first, so there is nothing that it could point to.
        if length > 63:
            raise Malformed("a compressed question")
        labels.append(packet[position : position + length].lower())
        position += length
    if position - start > LONGEST_NAME:
        raise Malformed("the name is too long")
    return tuple(labels), position


def _read_opt(packet: bytes, position: int) -> Edns | None:
    """The OPT record that ends the packet; None when something else is there."""
    if len(packet) < position + _OPT.size:
        return None
    root, rtype, payload, _, version, flags, length = _OPT.unpack_from(packet, position)
    position += _OPT.size
    if root or rtype != Type.OPT or len(packet) != position + length:
        return None
    while position < len(packet):
        if len(packet) < position + OPTION.size:
            raise Malformed("an EDNS option is cut off")
        position += OPTION.size + OPTION.unpack_from(packet, position)[1]
    if position != len(packet):
        raise Malformed("an EDNS option is cut off")
    return Edns(payload, version, bool(flags & DO))


def _check_odd(packet: bytes) -> Edns | None:
    """Let dnspython look at a query that has more than a question and an OPT record."""
    if len(packet) > _LARGEST_ODD_QUERY:
        raise Malformed("too large")
    try:
        message = dns.message.from_wire(packet)
    except Exception as error:
        # dnspython also lets ValueError, IndexError and others through.
        raise Malformed(f"unreadable: {error!r}") from error
    if message.edns < 0:
        return None
    return Edns(message.payload, message.edns, bool(message.ednsflags & DO))


def header_reply(packet: bytes, rcode: Rcode) -> bytes:
    """A reply of nothing but a header, to a query whose question is not worth repeating."""
    id_, flags = QUESTION_TAIL.unpack_from(packet)
    return HEADER.pack(id_, QR | flags & (OPCODE | RD) | rcode, 0, 0, 0, 0)


def write_reply(query: Query, outcome: Outcome, limit: int) -> bytes:
    """The reply as it goes out; cut down to the question, with TC, when over *limit* bytes."""
    flags = QR | RA | query.flags & (RD | CD) | outcome.flags | outcome.rcode & 0xF
    opt = b"" if query.edns is None else _write_opt(outcome, query.edns.do)
    size = HEADER.size + len(query.question) + len(outcome.body) + len(opt)
    answers, authorities, additionals = outcome.counts
    body = outcome.body
    if size > limit:
        flags, body, answers, authorities, additionals = flags | TC, b"", 0, 0, 0
    if opt:
        additionals += 1
    header = HEADER.pack(query.id, flags, 1, answers, authorities, additionals)
    return header + query.question + body + opt


def _write_opt(outcome: Outcome, do: bool) -> bytes:
    options = b""
    if outcome.ede is not None:
        code, text = outcome.ede
        data = struct.pack(">H", code) + text.encode()
        options = OPTION.pack(EDE_OPTION, len(data)) + data
    flags = DO if do else 0
    return _OPT.pack(0, Type.OPT, UDP_PAYLOAD, outcome.rcode >> 4, 0, flags, len(options)) + options


def write_query(id_: int, question: bytes, flags: int, edns: Edns | None) -> bytes:
    """A query to a resolver; *question* is a whole question section."""
    head = HEADER.pack(id_, flags, 1, 0, 0, 0 if edns is None else 1)
    if edns is None:
        return head + question
    do = DO if edns.do else 0
    return head + question + _OPT.pack(0, Type.OPT, edns.payload, 0, edns.version, do, 0)
