"""One client's load is kept from the others."""

from __future__ import annotations

import dns.message
from dns.rcode import SERVFAIL
from dns_fakes import GUEST, STRANGER, Clock, ede_of, make_bench, make_query, make_zone

from banger_dns import Limits
from banger_dns.limits import Places, TokenBuckets
from banger_dns.responder import Pending

OTHER = "172.31.0.11"
LOCAL = make_query("web.vm").to_wire()
FOREIGN = make_query("example.org", use_edns=0).to_wire()


def test_bucket_refills_up_to_its_burst() -> None:
    clock = Clock()
    buckets = TokenBuckets(10, 20, 100, clock)
    assert sum(buckets.take("a") for _ in range(50)) == 20
    assert buckets.take("b")
    clock.now += 0.55
    assert sum(buckets.take("a") for _ in range(50)) == 5
    clock.now += 1000
    assert sum(buckets.take("a") for _ in range(50)) == 20


def test_table_of_buckets_is_bounded() -> None:
    buckets = TokenBuckets(1, 1, 10)
    for number in range(1000):
        buckets.take(str(number))
    assert len(buckets) == 10


def test_places() -> None:
    places = Places(3, 2)
    assert [places.take("a") for _ in range(3)] == [True, True, False]
    assert [places.take("b") for _ in range(2)] == [True, False]
    places.give_back("a")
    with places.hold("b") as held:
        assert held and places.in_use == 3
        with places.hold("c") as other:
            assert not other
    assert places.in_use == 2


def test_flood_of_one_guest_leaves_the_others_alone() -> None:
    bench = make_bench(make_zone(), limits=Limits(queries_per_s=100), clock=Clock())
    answered = [bench.raw(LOCAL) is not None for _ in range(150)]
    assert answered == [True] * 100 + [False] * 50
    assert bench.raw(LOCAL, client=OTHER)


def test_rate_of_forwarded_queries() -> None:
    clock = Clock()
    limits = Limits(forwarded_per_s=5, forwarded_at_once=1000, forwarded_at_once_per_client=1000)
    bench = make_bench(make_zone(), limits=limits, clock=clock)
    replies = [bench.raw(FOREIGN) for _ in range(12)]
    assert [isinstance(reply, Pending) for reply in replies] == [True] * 10 + [False] * 2
    refused = replies[-1]
    assert isinstance(refused, bytes)
    message = dns.message.from_wire(refused)
    assert message.rcode() == SERVFAIL and ede_of(message) == "too many queries a second"
    assert isinstance(bench.raw(FOREIGN, client=OTHER), Pending)
    assert isinstance(bench.raw(LOCAL), bytes)
    clock.now += 1
    assert isinstance(bench.raw(FOREIGN), Pending)


async def test_forwarded_queries_at_once() -> None:
    limits = Limits(forwarded_at_once=3, forwarded_at_once_per_client=2)
    bench = make_bench(make_zone(), limits=limits)
    kinds = [isinstance(bench.raw(FOREIGN), Pending) for _ in range(3)]
    assert kinds == [True, True, False]
    last = bench.raw(FOREIGN, client=OTHER)
    assert isinstance(last, Pending)
    refused = bench.raw(FOREIGN, client=OTHER)
    assert isinstance(refused, bytes)
    assert ede_of(dns.message.from_wire(refused)) == "too many queries at once"
    await bench.responder.resolve(last)
    assert isinstance(bench.raw(make_query("other.org").to_wire(), client=OTHER), Pending)


def test_refusals_are_few() -> None:
    bench = make_bench(make_zone(), limits=Limits(refusals_per_s=5), clock=Clock())
    strangers = [f"192.0.2.{number}" for number in range(50)]
    replies = [bench.raw(LOCAL, client=stranger) for stranger in strangers]
    assert sum(reply is not None for reply in replies) == 5
    assert bench.raw(LOCAL, client=GUEST)
    assert STRANGER in strangers
