"""A host resolver that asks this server in turn."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import dns.message
import trio
from dns.rcode import SERVFAIL
from dns_fakes import (
    FakeUpstream,
    answering,
    ask_udp,
    ede_of,
    make_query,
    make_zone,
    upstreams,
)

from banger_dns import (
    Cache,
    DnsServer,
    Forwarder,
    Patience,
    RebindingGuard,
    Resolver,
    bind,
)

PATIENT = Patience(head_start_s=0.02, each_s=30, in_all_s=30)


class Mirror:
    """A forwarder that sends every question to the server under test."""

    def __init__(self, server: tuple[str, int]) -> None:
        self._server = server
        self._sockets = bind([("127.0.0.1", 0)])
        self.resolver = Resolver(*self._sockets.addresses[0])
        self.asked = 0

    async def serve(self) -> None:
        udp = trio.socket.from_stdlib_socket(self._sockets.udp[0])
        with self._sockets:
            async with trio.open_nursery() as nursery:
                while True:
                    wire, source = await udp.recvfrom(4096)
                    self.asked += 1
                    nursery.start_soon(self._forward, udp, wire, source)

    async def _forward(
        self, udp: trio.socket.SocketType, wire: bytes, source: tuple[str, int]
    ) -> None:
        query = dns.message.from_wire(wire)
        # As other forwarders do: a new id, other EDNS flags.
        again = make_query(str(query.question[0].name), want_dnssec=True)
        reply = await ask_udp(self._server, again)
        reply.id = query.id
        await udp.sendto(reply.to_wire(), source)


@asynccontextmanager
async def mirrored(*others: FakeUpstream) -> AsyncIterator[tuple[tuple[str, int], Mirror]]:
    """A server whose first resolver is a mirror."""
    zone = make_zone()
    with bind([("127.0.0.1", 0)]) as sockets:
        address = sockets.addresses[0]
        mirror = Mirror(address)
        resolvers = [mirror.resolver, *(other.resolver for other in others)]
        forwarder = Forwarder(
            lambda: resolvers, RebindingGuard([zone.subnet]), Cache(100, 1 << 20), PATIENT
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(mirror.serve)
            await nursery.start(DnsServer(zone, forwarder).serve, sockets)
            yield address, mirror
            nursery.cancel_scope.cancel()


async def test_loop_is_found_and_named() -> None:
    async with mirrored() as (server, mirror):
        query = make_query("example.org", use_edns=0)
        reply = await ask_udp(server, query)
        assert reply.rcode() == SERVFAIL
        assert ede_of(reply) == f"a forwarding loop: {mirror.resolver} asks this server"
        asked = mirror.asked
        # It is left alone from now on.
        reply = await ask_udp(server, make_query("other.org", use_edns=0))
        assert ede_of(reply) == f"a forwarding loop: {mirror.resolver} asks this server"
        assert mirror.asked == asked <= 4


async def test_other_resolvers_still_answer() -> None:
    async with upstreams(answering("@ 60 A 192.0.2.7")) as (fake,), mirrored(fake) as (server, _):
        reply = await ask_udp(server, make_query("example.org"))
        assert [str(rdata) for rdata in reply.answer[0]] == ["192.0.2.7"]


async def test_suspicion_alone_harms_nobody() -> None:
    async with upstreams(answering("@ 60 A 192.0.2.7")) as (fake,):
        zone = make_zone()
        forwarder = Forwarder(
            lambda: [fake.resolver], RebindingGuard([zone.subnet]), Cache(0, 0), PATIENT
        )
        with bind([("127.0.0.1", 0)]) as sockets:
            async with trio.open_nursery() as nursery:
                await nursery.start(DnsServer(zone, forwarder).serve, sockets)
                async with trio.open_nursery() as askers:
                    for _ in range(20):
                        askers.start_soon(ask_udp, sockets.addresses[0], make_query("example.org"))
                reply = await ask_udp(sockets.addresses[0], make_query("example.org"))
                assert reply.answer
                nursery.cancel_scope.cancel()
    probes = [name for name in fake.names if name.endswith(".loop-probe.banger.alt.")]
    assert len(probes) <= 1
