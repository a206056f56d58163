"""Header, EDNS, special names, refusals: what holds for every name."""

from __future__ import annotations

import struct

import dns.edns
import dns.flags
import dns.message
import dns.opcode
import dns.rdatatype
import dns.update
import pytest
from dns.rcode import BADVERS, FORMERR, NOERROR, NOTIMP, NXDOMAIN, REFUSED, SERVFAIL
from dns_fakes import STRANGER, Bench, ede_of, make_query


def rcode_of(bench: Bench, wire: bytes) -> int:
    """Of a reply that need not have the question."""
    reply = bench.raw(wire)
    assert isinstance(reply, bytes)
    assert reply[:2] == wire[:2] and reply[2] & 0x80
    return reply[3] & 0xF


def test_id_and_flags_come_back(bench: Bench) -> None:
    for flags in (0, dns.flags.RD, dns.flags.CD, dns.flags.RD | dns.flags.CD):
        reply = bench.ask("web.vm", flags=flags)
        kept = reply.flags & (dns.flags.RD | dns.flags.CD)
        assert kept == flags
        assert not reply.flags & (dns.flags.TC | dns.flags.AD)


def test_equal_queries_differ_by_id_only(bench: Bench) -> None:
    wire = make_query("web.vm").to_wire()
    first = bench.raw(b"\x01\x02" + wire[2:])
    second = bench.raw(b"\x03\x04" + wire[2:])
    assert isinstance(first, bytes) and isinstance(second, bytes)
    assert (first[:2], second[:2], first[2:]) == (b"\x01\x02", b"\x03\x04", second[2:])


def test_no_edns_without_edns(bench: Bench) -> None:
    assert bench.ask("web.vm").edns == -1
    reply = bench.ask("web.vm", use_edns=0, payload=4096)
    assert (reply.edns, reply.payload) == (0, 1232)
    assert not reply.ednsflags & dns.flags.DO
    assert bench.ask("web.vm", want_dnssec=True).ednsflags & dns.flags.DO


def test_edns_options_are_passed_over(bench: Bench) -> None:
    cookie = dns.edns.GenericOption(dns.edns.OptionType.COOKIE, b"12345678")
    reply = bench.ask("web.vm", use_edns=0, options=[cookie])
    assert reply.rcode() == NOERROR and not reply.options


def test_other_edns_version(bench: Bench) -> None:
    wire = bytearray(make_query("web.vm", use_edns=0).to_wire())
    wire[-5] = 1  # the version, before flags and length
    reply = bench.raw(bytes(wire))
    assert isinstance(reply, bytes)
    message = dns.message.from_wire(reply)
    assert message.rcode() == BADVERS and not message.answer


@pytest.mark.parametrize(
    ("rtype", "rcode"),
    [("AXFR", REFUSED), ("IXFR", REFUSED), ("MAILB", NOTIMP), ("TKEY", NOTIMP)],
)
@pytest.mark.parametrize("name", ["vm", "example.org"])
def test_types_that_are_not_served(bench: Bench, name: str, rtype: str, rcode: int) -> None:
    reply = bench.ask(name, rtype, use_edns=0)
    assert reply.rcode() == rcode and ede_of(reply)


def test_any_is_answered_minimally(bench: Bench) -> None:
    reply = bench.ask("web.vm", "ANY")
    assert [rrset.rdtype for rrset in reply.answer] == [dns.rdatatype.HINFO]
    assert bench.ask("nope.vm", "ANY").rcode() == NXDOMAIN
    assert bench.ask("example.org", "ANY").rcode() == NOTIMP


@pytest.mark.parametrize("rdclass", ["CH", "ANY", "HS"])
def test_other_classes_are_refused(bench: Bench, rdclass: str) -> None:
    assert bench.ask("version.bind", "TXT", rdclass=rdclass).rcode() == REFUSED


def test_other_opcodes_are_not_implemented(bench: Bench) -> None:
    update = dns.update.UpdateMessage("vm")
    update.add("evil", 60, "A", "192.0.2.1")
    assert rcode_of(bench, update.to_wire()) == NOTIMP
    notify = make_query("vm", "SOA")
    notify.set_opcode(dns.opcode.NOTIFY)
    assert rcode_of(bench, notify.to_wire()) == NOTIMP


def test_query_without_recursion(bench: Bench) -> None:
    assert bench.ask("web.vm", flags=0).rcode() == NOERROR
    assert bench.ask("example.org", flags=0).rcode() == REFUSED


WEB_QUERY = make_query("web.vm", id=7).to_wire()
EDNS_QUERY = make_query("web.vm", id=7, use_edns=0).to_wire()
HEADER = WEB_QUERY[:12]


@pytest.mark.parametrize(
    "wire",
    [
        HEADER,
        WEB_QUERY[:-1],
        WEB_QUERY[:-5],
        WEB_QUERY + b"\0",
        EDNS_QUERY + b"\0",
        EDNS_QUERY[:-1],
        EDNS_QUERY + EDNS_QUERY[-11:],  # one record more than announced
        EDNS_QUERY[:-2] + b"\0\x03\0\x01\0",  # an option cut off
        EDNS_QUERY[:-2] + b"\0\x06\0\x0a\0\x09ab",  # an option longer than its record
        HEADER + b"\xc0\x0c\0\x01\0\x01",  # a name that points to itself
        HEADER + b"\x40a\0\0\x01\0\x01",
        HEADER + b"\x40" + b"a" * 64 + b"\0\0\x01\0\x01",
        HEADER + b"\x3fa" * 5 + b"\0\0\x01\0\x01",
        HEADER + b"\x01a" * 128 + b"\0\0\x01\0\x01",  # a name of 257 bytes
        struct.pack(">HHHHHH", 7, 0x100, 0, 0, 0, 0),
        struct.pack(">HHHHHH", 7, 0x100, 2, 0, 0, 0) + WEB_QUERY[12:] * 2,
        struct.pack(">HHHHHH", 7, 0x100, 1, 1, 0, 0) + WEB_QUERY[12:],
        struct.pack(">HHHHHH", 7, 0x100, 1, 0, 0, 2) + EDNS_QUERY[12:] + EDNS_QUERY[-11:],
    ],
)
def test_malformed(bench: Bench, wire: bytes) -> None:
    assert rcode_of(bench, wire) == FORMERR


@pytest.mark.parametrize(
    "wire", [b"", b"\0", HEADER[:11], b"\0\7\x81\x80" + WEB_QUERY[4:], b"\0\7\xff\xff" + b"\0" * 40]
)
def test_dropped(bench: Bench, wire: bytes) -> None:
    assert bench.raw(wire) is None


def test_odd_but_well_formed_queries(bench: Bench) -> None:
    query = make_query("web.vm", use_edns=0, want_dnssec=True)
    rrset = dns.rrset.from_text("x.", 1, "IN", "A", "192.0.2.1")
    query.additional.append(rrset)
    query.answer.append(rrset)
    reply = bench.raw(query.to_wire())
    assert isinstance(reply, bytes)
    message = dns.message.from_wire(reply)
    assert message.rcode() == NOERROR and len(message.answer) == 1
    assert message.ednsflags & dns.flags.DO


def test_longest_name(bench: Bench) -> None:
    name = ".".join(["a" * 63] * 3 + ["b" * 58, "vm"])
    assert bench.ask(name, use_edns=0).rcode() == NXDOMAIN


@pytest.mark.parametrize("name", ["web.vm", "example.org"])
def test_strangers_are_refused_without_gain(bench: Bench, name: str) -> None:
    query = make_query(name, use_edns=0).to_wire()
    reply = bench.raw(query, client=STRANGER)
    assert isinstance(reply, bytes)
    assert reply[3] & 0xF == REFUSED and len(reply) < len(query)


@pytest.mark.parametrize(
    ("name", "rtype", "data"),
    [
        ("localhost", "A", "127.0.0.1"),
        ("a.b.LOCALHOST", "A", "127.0.0.1"),
        ("localhost", "AAAA", "::1"),
        ("1.0.0.127.in-addr.arpa", "PTR", "localhost."),
        ("1." + "0." * 31 + "ip6.arpa", "PTR", "localhost."),
    ],
)
def test_localhost(bench: Bench, name: str, rtype: str, data: str) -> None:
    reply = bench.ask(name, rtype)
    assert [str(rdata) for rdata in reply.answer[0]] == [data]


@pytest.mark.parametrize(
    ("name", "rcode"),
    [
        ("localhost", NOERROR),
        ("invalid", NOERROR),
        ("a.invalid", NXDOMAIN),
        ("a.b.test", NXDOMAIN),
        ("printer.local", NXDOMAIN),
        ("abc.onion", NXDOMAIN),
        ("x.alt", NXDOMAIN),
        ("_dns.resolver.arpa", NOERROR),
        ("2.0.0.127.in-addr.arpa", NXDOMAIN),
        ("254.169.254.169.in-addr.arpa", NXDOMAIN),
        ("1.0.0.0.in-addr.arpa", NXDOMAIN),
    ],
)
def test_special_names_do_not_leave(bench: Bench, name: str, rcode: int) -> None:
    reply = bench.ask(name, "TXT")
    assert (reply.rcode(), reply.answer, len(reply.authority)) == (rcode, [], 1)


@pytest.mark.parametrize(
    "name", ["notlocalhost", "invalid.example.org", "1.1.168.192.in-addr.arpa", "home.arpa", "."]
)
def test_other_names_do(bench: Bench, name: str) -> None:
    reply = bench.raw(make_query(name, "TXT").to_wire())
    assert not isinstance(reply, bytes)


async def test_without_resolvers(bench: Bench) -> None:
    pending = bench.raw(make_query("example.org", use_edns=0).to_wire())
    assert pending is not None and not isinstance(pending, bytes)
    reply = dns.message.from_wire(await bench.responder.resolve(pending))
    assert reply.rcode() == SERVFAIL
    assert ede_of(reply) == "the host has no DNS resolver to ask"
