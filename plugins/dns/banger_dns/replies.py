"""Reading what resolvers send.

By hand, because anybody may put a reply of 64 KiB into his zone: dnspython would hold up the
whole daemon for an eighth of a second, this takes some milliseconds. What stands inside the
records is not looked at, except for addresses (`rebinding`).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import dns.message
import msgspec

from banger_dns.errors import Malformed
from banger_dns.wire import EDE_OPTION, HEADER, IN, OPTION, RECORD_TAIL, TCP_PAYLOAD, Type

ANSWER, AUTHORITY, ADDITIONAL = range(3)

_LARGEST_REORDERED = 4096


class Record(msgspec.Struct, frozen=True, gc=False):
    """A record of a reply; *ttl_at* is where its TTL stands in the reply."""

    section: int
    rtype: int
    ttl_s: int
    ttl_at: int
    data: bytes


class Reply(msgspec.Struct, frozen=True):
    """A reply of a resolver; *wire* ends before the OPT record, which is not in *records*."""

    wire: bytes
    flags: int
    rcode: int
    records: list[Record]
    ede: tuple[int, str] | None = None


def read_reply(wire: bytes, start: int) -> Reply:
    """Read a whole reply, the records of which begin at *start*. Raises Malformed."""
    try:
        return _read(wire, start, may_reorder=True)
    except (IndexError, struct.error) as error:
        raise Malformed("the reply is cut off") from error


def _read(wire: bytes, start: int, *, may_reorder: bool) -> Reply:
    _, flags, _, *counts = HEADER.unpack_from(wire)
    rcode, ede, records, position, opt_at = flags & 0xF, None, [], start, None
    for section, count in enumerate(counts):
        for _ in range(count):
            if opt_at is not None:
                if not may_reorder:
                    raise Malformed("more than one OPT record")
                return _read(_with_opt_last(wire), start, may_reorder=False)
            record_at, position = position, _end_of_name(wire, position)
            rtype, rclass, ttl, length = RECORD_TAIL.unpack_from(wire, position)
            data_at = position + RECORD_TAIL.size
            data = wire[data_at : data_at + length]
            if len(data) != length:
                raise Malformed("a record is cut off")
            if rtype == Type.OPT and section == ADDITIONAL:
                opt_at = record_at
                rcode |= ttl >> 20 & 0xFF0
                ede = _find_ede(data)
            elif rclass != IN:
                raise Malformed(f"a record of class {rclass}")
            else:
                # RFC 2181, 8: what looks negative is zero.
                ttl_s = ttl if ttl < 1 << 31 else 0
                records.append(Record(section, rtype, ttl_s, position + 4, data))
            position = data_at + length
    return Reply(wire[: position if opt_at is None else opt_at], flags, rcode, records, ede)


def _end_of_name(wire: bytes, start: int) -> int:
    position = start
    while length := wire[position]:
        if length >= 0xC0:
            target = (length & 0x3F) << 8 | wire[position + 1]
            if not HEADER.size <= target < start:
                raise Malformed("a name points to nowhere")
            return position + 2
        if length > 63:
            raise Malformed("a name of unknown form")
        position += 1 + length
    return position + 1


def _with_opt_last(wire: bytes) -> bytes:
    """The same reply, OPT record behind all others, as nearly everybody writes it anyway."""
    if len(wire) > _LARGEST_REORDERED:
        raise Malformed("the OPT record is not the last")
    try:
        return dns.message.from_wire(wire, ignore_trailing=True).to_wire(max_size=TCP_PAYLOAD)
    except Exception as error:
        # dnspython also lets ValueError, IndexError and others through.
        raise Malformed(f"unreadable: {error!r}") from error


def _find_ede(options: bytes) -> tuple[int, str] | None:
    """The first Extended DNS Error; its text as far as it is printable ASCII."""
    for code, data in options_of(options):
        if code == EDE_OPTION and len(data) >= 2:
            text = data[2:].decode("ascii", "ignore")
            return int.from_bytes(data[:2]), "".join(filter(str.isprintable, text))
    return None


def options_of(options: bytes) -> Iterator[tuple[int, bytes]]:
    """Code and data of pairs with a length, as in OPT and SVCB records. Raises Malformed."""
    position = 0
    while position < len(options):
        if len(options) < position + OPTION.size:
            raise Malformed("an option is cut off")
        code, length = OPTION.unpack_from(options, position)
        position += OPTION.size + length
        if position > len(options):
            raise Malformed("an option is cut off")
        yield code, options[position - length : position]
