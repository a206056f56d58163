"""Packets from hostile guests, and answers from hostile resolvers."""

from __future__ import annotations

import random
import socket
import struct

import dns.edns
import dns.message
import trio
from dns_fakes import (
    GUEST,
    STRANGER,
    Bench,
    Clock,
    ask_udp,
    make_bench,
    make_query,
    make_zone,
    reply_to,
    serving,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from banger_dns import Limits, RebindingGuard
from banger_dns.answers import Question, answer_from
from banger_dns.errors import Malformed
from banger_dns.names import labels_of
from banger_dns.replies import read_reply
from banger_dns.responder import Pending
from banger_dns.wire import read_query, write_reply

FLIPPED_PACKETS = 180_000
RANDOM_PACKETS = 30_000
SOCKET_PACKETS = 5_000
FLIPPED_ANSWERS = 50_000
READ_BACK_EVERY = 20

NO_LIMITS = Limits(
    queries_per_s=10**9,
    forwarded_per_s=10**9,
    refusals_per_s=10**9,
    forwarded_at_once=10**9,
    forwarded_at_once_per_client=10**9,
)


def seeds() -> list[bytes]:
    """Queries as real clients send them."""
    cookie = dns.edns.GenericOption(dns.edns.OptionType.COOKIE, b"12345678")
    queries = [
        make_query("web.vm"),
        make_query("www.vm", "AAAA", use_edns=0),
        make_query("nope.vm", "TXT", want_dnssec=True),
        make_query("vm", "SOA", use_edns=0, options=[cookie]),
        make_query("vm", "AXFR"),
        make_query("10.0.31.172.in-addr.arpa", "PTR", use_edns=0, pad=128),
        make_query("a.very.long.name.with.many.labels.example.org", "HTTPS", use_edns=0),
        make_query("localhost", "ANY"),
    ]
    return [query.to_wire() for query in queries]


def fuzz_bench() -> Bench:
    return make_bench(make_zone(), limits=NO_LIMITS, clock=Clock())


def check(bench: Bench, wire: bytes, *, client: str, tcp: bool, read_back: bool) -> None:
    """What holds for every packet: no exception, and a reply that fits the query or none."""
    reply = bench.raw(wire, client=client, tcp=tcp)
    if isinstance(reply, Pending):
        bench.responder.places.give_back(reply.client)
        return
    if reply is None:
        assert len(wire) < 12 or wire[2] & 0x80
        return
    assert reply[:2] == wire[:2] and reply[2] & 0x80
    assert tcp or len(reply) <= 1232
    if client == STRANGER:
        assert len(reply) <= len(wire)
    if read_back:
        dns.message.from_wire(reply)


def test_flipped_bytes() -> None:
    bench, queries, choose = fuzz_bench(), seeds(), random.Random(1)
    for number in range(FLIPPED_PACKETS):
        wire = bytearray(choose.choice(queries))
        for _ in range(choose.choice((1, 1, 2, 3, 8))):
            wire[choose.randrange(len(wire))] = choose.randrange(256)
        if not number % 7:
            del wire[choose.randrange(len(wire)) :]
        elif not number % 11:
            wire += choose.randbytes(choose.randrange(20))
        check(
            bench,
            bytes(wire),
            client=STRANGER if not number % 13 else GUEST,
            tcp=not number % 5,
            read_back=not number % READ_BACK_EVERY,
        )
    assert bench.ask("web.vm").answer
    assert bench.responder.places.in_use == 0


def test_random_bytes() -> None:
    bench, choose = fuzz_bench(), random.Random(2)
    for number in range(RANDOM_PACKETS):
        wire = choose.randbytes(choose.randrange(120))
        if number % 2:
            # Behind a header that gets further than most.
            wire = struct.pack(">HHHHHH", number & 0xFFFF, 0x100, 1, 0, 0, number % 3) + wire
        check(bench, wire, client=GUEST, tcp=False, read_back=not number % READ_BACK_EVERY)
    assert bench.ask("web.vm").answer


HEADERS = st.builds(
    lambda *fields: struct.pack(">HHHHHH", *fields),
    st.integers(0, 0xFFFF),
    st.sampled_from([0, 0x100, 0x120, 0x110, 0x2000, 0x7900]),
    *([st.sampled_from([0, 1, 1, 1, 2, 0xFFFF])] * 4),
)
NAMES = st.one_of(
    st.lists(st.binary(min_size=1, max_size=63), max_size=6).map(
        lambda labels: b"".join(bytes((len(label),)) + label for label in labels) + b"\0"
    ),
    st.sampled_from([b"\x03web\x02vm\0", b"\xc0\x0c", b"\xc0\x00", b"\xff\xff", b"\x40", b"\0"]),
    st.binary(max_size=300),
)
NUMBERS = st.sampled_from([0, 1, 2, 12, 28, 41, 249, 250, 251, 252, 254, 255, 0xFFFF])
QUESTIONS = st.builds(
    lambda name, rtype, rclass: name + struct.pack(">HH", rtype, rclass), NAMES, NUMBERS, NUMBERS
)
RECORDS = st.builds(
    lambda head, ttl, length, data: head + struct.pack(">IH", ttl, length or len(data)) + data,
    QUESTIONS,
    st.integers(0, 0xFFFFFFFF),
    st.sampled_from([0, 0, 0, 1, 5, 0xFFFF]),
    st.binary(max_size=40),
)
PACKETS = st.builds(
    lambda *parts: parts[0] + b"".join(part for some in parts[1:] for part in some),
    HEADERS,
    st.lists(QUESTIONS, max_size=3),
    st.lists(RECORDS, max_size=3),
)


@settings(max_examples=1500, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(st.lists(PACKETS, max_size=4), st.booleans())
def test_packets_of_the_right_shape(packets: list[bytes], tcp: bool) -> None:
    for packet in packets:
        check(BENCH, packet, client=GUEST, tcp=tcp, read_back=True)


BENCH = fuzz_bench()


async def test_server_survives_on_real_sockets() -> None:
    choose, queries = random.Random(3), seeds()
    async with serving(make_zone(), limits=NO_LIMITS) as server:
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            for _ in range(SOCKET_PACKETS):
                wire = bytearray(choose.choice(queries))
                wire[choose.randrange(len(wire))] ^= 1 << choose.randrange(8)
                sock.sendto(wire, server)
                await trio.lowlevel.checkpoint()
        for _ in range(50):
            async with await trio.open_tcp_stream(*server) as stream:
                await stream.send_all(choose.randbytes(500))
        assert (await ask_udp(server, make_query("web.vm"))).answer
        assert (await ask_udp(server, make_query("nope.vm"))).authority


def test_hostile_answers() -> None:
    """Each flipped answer is rejected or becomes a reply as sound as it came."""
    choose, name = random.Random(4), "example.org"
    question = Question(labels_of(name), 1)
    start = 12 + len(question.wire)
    query = read_query(make_query(name, use_edns=0).to_wire())
    sound = reply_to(
        make_query(name, use_edns=0),
        "@ 60 CNAME cdn.example.org.",
        "cdn.example.org. 60 A 192.0.2.7",
        "cdn.example.org. 60 HTTPS 1 . alpn=h2 ipv4hint=192.0.2.7",
        "cdn.example.org. 60 TXT some text",
        authority=["org. 60 SOA a. b. 1 2 3 4 5"],
    ).to_wire()
    guard, kept = RebindingGuard([]), 0
    for number in range(FLIPPED_ANSWERS):
        wire = bytearray(sound)
        for _ in range(choose.choice((1, 2, 4))):
            wire[choose.randrange(6, len(wire))] = choose.randrange(256)
        if not number % 5:
            del wire[choose.randrange(start, len(wire)) :]
        try:
            reply = read_reply(bytes(wire), start)
            guard.find(reply.records)
        except Malformed:
            continue
        answer = answer_from(reply, question)
        for age_s in (0, 1):
            outcome = answer.outcome(age_s, ad=True)
            again = read_reply(write_reply(query, outcome, 65535), start)
            assert len(again.records) == len(answer.ttls)
        kept += 1
    assert FLIPPED_ANSWERS / 10 < kept < FLIPPED_ANSWERS
