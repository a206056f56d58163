"""What becomes of resolvers that are slow, wrong, dead or hostile."""

from __future__ import annotations

from collections.abc import Iterable

import dns.edns
import dns.flags
import dns.message
import pytest
import trio
from dns.rcode import FORMERR, NOERROR, NXDOMAIN, REFUSED, SERVFAIL
from dns_fakes import (
    PATIENT,
    QUICK,
    Behaviour,
    Clock,
    Message,
    Reply,
    answering,
    ede_of,
    make_forwarder,
    make_query,
    read_outcome,
    reply_to,
    upstreams,
)

from banger_dns import Cache, Forwarder, Patience, Resolver
from banger_dns.answers import Question
from banger_dns.names import labels_of

NAME = "example.org"
GOOD = answering("@ 60 A 192.0.2.7")
REFUSING = answering(rcode=REFUSED)


def silent(query: Message, tcp: bool) -> Iterable[Reply]:
    return []


def question(name: str = NAME, rtype: int = 1, **more: bool) -> Question:
    return Question(labels_of(name), rtype, **more)


async def resolve(forwarder: Forwarder, name: str = NAME, **more: bool) -> Message:
    with trio.fail_after(5):
        outcome = await forwarder.resolve(question(name, **more), ad=False)
    return read_outcome(outcome, name)


async def resolve_by(*behaviours: Behaviour, patience: Patience = PATIENT) -> Message:
    async with upstreams(*behaviours) as fakes:
        return await resolve(make_forwarder([fake.resolver for fake in fakes], patience))


def addresses(reply: Message) -> list[str]:
    return [str(rdata) for rrset in reply.answer for rdata in rrset]


async def test_answer_comes_back() -> None:
    reply = await resolve_by(GOOD)
    assert (reply.rcode(), addresses(reply)) == (NOERROR, ["192.0.2.7"])
    assert not reply.flags & dns.flags.AA


async def test_ids_and_ports_are_random() -> None:
    async with upstreams(GOOD) as (fake,):
        forwarder = make_forwarder([fake.resolver])
        for number in range(20):
            await resolve(forwarder, f"x{number}.example.org")
    assert len({query.id for query, _ in fake.queries}) > 15
    assert len(set(fake.sources)) > 15


async def test_query_says_what_it_must() -> None:
    async with upstreams(GOOD) as (fake,):
        forwarder = make_forwarder([fake.resolver])
        await resolve(forwarder)
        await resolve(forwarder, do=True, cd=True)
    (plain, _), (full, _) = fake.queries
    assert plain.payload == 1232 and not plain.ednsflags and plain.flags & dns.flags.RD
    assert full.ednsflags & dns.flags.DO and full.flags & dns.flags.CD


async def test_validated_flag_is_passed_to_those_who_ask() -> None:
    def validated(query: Message, tcp: bool) -> Iterable[Reply]:
        reply = reply_to(query, "@ 60 A 192.0.2.7")
        reply.flags |= dns.flags.AD
        return [reply]

    async with upstreams(validated) as (fake,):
        forwarder = make_forwarder([fake.resolver])
        for ad in (False, True):
            outcome = await forwarder.resolve(question(), ad=ad)
            assert bool(read_outcome(outcome, NAME).flags & dns.flags.AD) == ad


async def test_truncated_answer_is_fetched_over_tcp() -> None:
    def large(query: Message, tcp: bool) -> Iterable[Reply]:
        if tcp:
            return [reply_to(query, *(f"@ 60 A 192.0.2.{n}" for n in range(100)))]
        short = reply_to(query)
        short.flags |= dns.flags.TC
        return [short]

    assert len(addresses(await resolve_by(large))) == 100


async def test_lies_are_passed_over() -> None:
    def lying(query: Message, tcp: bool) -> Iterable[Reply]:
        evil = "@ 60 A 192.0.2.66"
        other_id = make_query(NAME, id=query.id ^ 1)
        other_name = make_query("evil.org", id=query.id)
        other_type = make_query(NAME, "TXT", id=query.id)
        no_response = query.to_wire()
        return [
            b"",
            b"x" * 11,
            reply_to(other_id, evil),
            reply_to(other_name, evil),
            reply_to(other_type, "@ 60 TXT evil"),
            no_response,
            reply_to(query, "@ 60 A 192.0.2.7"),
        ]

    assert addresses(await resolve_by(lying)) == ["192.0.2.7"]


async def test_type_that_differs_only_in_case_of_its_byte_is_another() -> None:
    def lying(query: Message, tcp: bool) -> Iterable[Reply]:
        wire = bytearray(reply_to(query, "@ 60 A 192.0.2.66").to_wire())
        wire[12 + 13 + 1] ^= 0x20
        return [bytes(wire)]

    assert (await resolve_by(lying, patience=QUICK)).rcode() == SERVFAIL


async def test_answer_from_another_port_is_passed_over() -> None:
    async with upstreams(silent) as (fake,):

        def spoofing(query: Message, tcp: bool) -> Iterable[Reply]:
            with trio.socket.socket(type=trio.socket.SOCK_DGRAM) as sock:
                wire = reply_to(query, "@ 60 A 192.0.2.66").to_wire()
                sock._sock.sendto(wire, ("127.0.0.1", fake.sources[-1]))  # type: ignore[attr-defined]
            return []

        fake.behaviour = spoofing
        assert (await resolve(make_forwarder([fake.resolver], QUICK))).rcode() == SERVFAIL
        assert fake.queries


@pytest.mark.parametrize(
    "garbage",
    [
        lambda wire: wire[:-3],
        lambda wire: wire[:12] + wire[12:29] + b"\xc0\xff" * 20,
        lambda wire: wire[:29],
    ],
)
async def test_unreadable_answer_leaves_it_to_the_next(garbage: object) -> None:
    def broken(query: Message, tcp: bool) -> Iterable[Reply]:
        return [garbage(reply_to(query, "@ 60 A 192.0.2.66").to_wire())]  # type: ignore[operator]

    assert addresses(await resolve_by(broken, GOOD)) == ["192.0.2.7"]
    alone = await resolve_by(broken)
    assert alone.rcode() == SERVFAIL and "broken answer" in ede_of(alone)


async def test_opt_record_need_not_be_the_last() -> None:
    def unusual(query: Message, tcp: bool) -> Iterable[Reply]:
        reply = reply_to(query, "@ 60 A 192.0.2.7")
        wire = bytearray(reply.to_wire())
        wire[11] += 1
        return [bytes(wire) + b"\xc0\x0c\0\1\0\1\0\0\0\x1e\0\4\xc0\0\2\x08"]

    async with upstreams(unusual) as (fake,):
        forwarder = make_forwarder([fake.resolver])
        reply = await resolve(forwarder)
    assert addresses(reply) == ["192.0.2.7"]
    assert [str(rdata) for rrset in reply.additional for rdata in rrset] == ["192.0.2.8"]
    assert [rrset.ttl for rrset in reply.additional] == [30]


async def test_answer_of_64_kib() -> None:
    def huge(query: Message, tcp: bool) -> Iterable[Reply]:
        reply = reply_to(query, *(f"@ 60 A 10.1.{n // 256}.{n % 256}" for n in range(4000)))
        if tcp:
            return [reply]
        cut = reply_to(query)
        cut.flags |= dns.flags.TC
        return [cut]

    async with upstreams(huge) as (fake,):
        forwarder = make_forwarder([fake.resolver])
        assert len(addresses(await resolve(forwarder))) == 4000


@pytest.mark.parametrize("first", [silent, REFUSING, answering(rcode=SERVFAIL)])
async def test_next_resolver_answers_when_the_first_does_not(first: Behaviour) -> None:
    assert addresses(await resolve_by(first, GOOD)) == ["192.0.2.7"]


async def test_dead_resolver() -> None:
    async with upstreams(GOOD) as (fake,):
        with trio.socket.socket(type=trio.socket.SOCK_DGRAM) as sock:
            await sock.bind(("127.0.0.1", 0))
            dead = Resolver("127.0.0.1", sock.getsockname()[1])
        absent = Resolver("fe80::1%nowhere")
        reply = await resolve(make_forwarder([dead, absent, fake.resolver]))
        assert addresses(reply) == ["192.0.2.7"]
        alone = await resolve(make_forwarder([dead]))
    assert alone.rcode() == SERVFAIL
    assert ede_of(alone) == f"{dead}: Connection refused"


async def test_nobody_answers() -> None:
    async with upstreams(silent) as (fake,):
        started = trio.current_time()
        reply = await resolve(make_forwarder([fake.resolver], QUICK))
        assert trio.current_time() - started < QUICK.in_all_s + 0.5
    assert reply.rcode() == SERVFAIL
    assert ede_of(reply) == f"no answer from {fake.resolver}"
    assert len(fake.queries) == 2


async def test_lost_datagram_is_sent_again() -> None:
    async with upstreams(silent) as (fake,):

        def second_time(query: Message, tcp: bool) -> Iterable[Reply]:
            return GOOD(query, tcp) if len(fake.queries) > 1 else []

        fake.behaviour = second_time
        reply = await resolve(make_forwarder([fake.resolver], QUICK))
    assert addresses(reply) == ["192.0.2.7"]


async def test_silent_resolver_is_asked_last_for_a_while() -> None:
    async with upstreams(silent, GOOD) as (first, second):
        forwarder = make_forwarder([first.resolver, second.resolver])
        await resolve(forwarder)
        assert (len(first.queries), len(second.queries)) == (1, 1)
        await resolve(forwarder, "other.example.org")
        assert (len(first.queries), len(second.queries)) == (1, 2)
        # Until the other fails as well.
        first.behaviour, second.behaviour = GOOD, silent
        await resolve(forwarder, "third.example.org")
        await resolve(forwarder, "fourth.example.org")
        assert (len(first.queries), len(second.queries)) == (3, 3)


async def test_reason_of_the_resolver_is_passed_on() -> None:
    def bogus(query: Message, tcp: bool) -> Iterable[Reply]:
        reply = reply_to(query, rcode=SERVFAIL)
        ede = dns.edns.EDEOption(dns.edns.EDECode.DNSSEC_BOGUS, "bad signature\x1b[0mü")
        reply.use_edns(0, options=[ede])
        return [reply]

    reply = await resolve_by(bogus)
    assert reply.rcode() == SERVFAIL
    assert ede_of(reply).endswith("answered SERVFAIL: bad signature[0m")
    (option,) = reply.options
    assert isinstance(option, dns.edns.EDEOption)
    assert option.code == dns.edns.EDECode.DNSSEC_BOGUS


async def test_resolver_without_edns() -> None:
    def old(query: Message, tcp: bool) -> Iterable[Reply]:
        if query.edns >= 0:
            return [query.id.to_bytes(2) + b"\x80\x01" + bytes(8)]
        return GOOD(query, tcp)

    assert addresses(await resolve_by(old)) == ["192.0.2.7"]
    always = await resolve_by(answering(rcode=FORMERR))
    assert always.rcode() == SERVFAIL


@pytest.mark.parametrize(
    "record",
    [
        "@ 60 A 172.31.0.10",
        "@ 60 A 172.31.0.1",
        "@ 60 A 127.0.0.1",
        "@ 60 A 0.0.0.0",
        "@ 60 A 169.254.169.254",
        "@ 60 AAAA ::1",
        "@ 60 AAAA ::ffff:127.0.0.1",
        "@ 60 AAAA 64:ff9b::172.31.0.10",
        "@ 60 AAAA fe80::1",
        "@ 60 HTTPS 1 . alpn=h2 ipv4hint=172.31.0.10",
        "@ 60 SVCB 1 . ipv6hint=::1",
    ],
)
async def test_rebinding_is_refused(record: str) -> None:
    reply = await resolve_by(answering("@ 60 CNAME x.example.org.", "@ 60 A 192.0.2.7", record))
    assert (reply.rcode(), reply.answer) == (REFUSED, [])
    assert "points to the private address" in ede_of(reply)
    hidden = await resolve_by(answering("@ 60 A 192.0.2.7", authority=[record]))
    assert hidden.rcode() == REFUSED


@pytest.mark.parametrize("address", ["10.1.2.3", "192.168.1.1", "172.31.4.1", "192.0.2.1"])
async def test_other_private_addresses_pass(address: str) -> None:
    assert addresses(await resolve_by(answering(f"@ 60 A {address}"))) == [address]


async def test_equal_questions_are_asked_once() -> None:
    async with upstreams(GOOD) as (fake,):
        forwarder = make_forwarder([fake.resolver], cache=Cache(0, 0))
        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(resolve, forwarder)
    assert len(fake.queries) == 1


async def test_others_ask_again_when_the_first_gives_up() -> None:
    async with upstreams(silent) as (fake,):
        forwarder = make_forwarder([fake.resolver])
        replies = []

        async def second() -> None:
            replies.append(await resolve(forwarder))

        async with trio.open_nursery() as nursery:
            with trio.CancelScope() as first:
                async with trio.open_nursery() as inner:
                    inner.start_soon(resolve, forwarder)
                    while not fake.queries:
                        await trio.lowlevel.checkpoint()
                    nursery.start_soon(second)
                    await trio.lowlevel.checkpoint()
                    fake.behaviour = GOOD
                    first.cancel()
    assert addresses(replies[0]) == ["192.0.2.7"]


async def test_answers_age_in_the_cache() -> None:
    clock = Clock()
    async with upstreams(answering("@ 60 A 192.0.2.7", "@ 90 TXT hello")) as (fake,):
        forwarder = make_forwarder([fake.resolver], cache=Cache(10, 10000, clock))
        for age in (0, 10, 59):
            clock.now = 1000.0 + age
            reply = await resolve(forwarder)
            assert [rrset.ttl for rrset in reply.answer] == [60 - age, 90 - age]
        assert len(fake.queries) == 1
        clock.now = 1060.0
        assert (await resolve(forwarder)).answer[0].ttl == 60
        assert len(fake.queries) == 2


async def test_cache_knows_questions_apart() -> None:
    async with upstreams(answering("@ 60 A 192.0.2.7", "@ 60 TXT x")) as (fake,):
        forwarder = make_forwarder([fake.resolver])
        for _ in range(2):
            await resolve(forwarder)
            await resolve(forwarder, do=True)
            await resolve(forwarder, cd=True)
            await resolve(forwarder, "www.example.org")
            await forwarder.resolve(question(rtype=16), ad=False)
    assert len(fake.queries) == 5


@pytest.mark.parametrize(
    ("behaviour", "lifetime_s"),
    [
        (answering(rcode=NXDOMAIN, authority=["org. 90 SOA a. b. 1 2 3 4 30"]), 30),
        (answering(authority=["org. 20 SOA a. b. 1 2 3 4 30"]), 20),
        (answering(authority=["org. 9999 SOA a. b. 1 2 3 4 9999"]), 300),
        (
            answering(
                "@ 7 CNAME x.org.", rcode=NXDOMAIN, authority=["org. 90 SOA a. b. 1 2 3 4 5"]
            ),
            5,
        ),
        (answering(rcode=NXDOMAIN), 0),
        (answering("@ 0 A 192.0.2.7"), 0),
        (answering("@ 9999999 A 192.0.2.7"), 86400),
        (answering(rcode=SERVFAIL), 1),
    ],
)
async def test_lifetime_in_the_cache(behaviour: Behaviour, lifetime_s: int) -> None:
    clock = Clock()
    async with upstreams(behaviour) as (fake,):
        forwarder = make_forwarder([fake.resolver], cache=Cache(10, 10000, clock))
        await resolve(forwarder)
        clock.now += lifetime_s - 0.1
        known = forwarder.peek(question(), ad=False)
        assert (known is not None) == (lifetime_s > 0)
        clock.now += 0.1
        assert forwarder.peek(question(), ad=False) is None


async def test_other_resolvers_other_answers() -> None:
    async with upstreams(GOOD, answering("@ 60 A 192.0.2.8")) as (first, second):
        current = [first.resolver]
        forwarder = make_forwarder([])
        forwarder._resolvers = lambda: tuple(current)
        assert addresses(await resolve(forwarder)) == ["192.0.2.7"]
        current[:] = [second.resolver]
        await resolve(forwarder, "other.example.org")
        assert addresses(await resolve(forwarder)) == ["192.0.2.8"]


async def test_own_addresses_are_never_asked() -> None:
    async with upstreams(GOOD) as (fake,):
        forwarder = make_forwarder([fake.resolver])
        forwarder.never_ask([(fake.resolver.address, fake.resolver.port)])
        assert (await resolve(forwarder)).rcode() == SERVFAIL
    assert not fake.queries
