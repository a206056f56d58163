"""A resolver that does as it is told, and ways to ask."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import ExitStack, asynccontextmanager
from ipaddress import IPv4Address, IPv4Network, IPv6Address

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import trio

from banger_dns import (
    Cache,
    DnsServer,
    Forwarder,
    Limits,
    Patience,
    RebindingGuard,
    Resolver,
    Zone,
    bind,
)
from banger_dns.responder import Pending, Responder
from banger_dns.wire import Outcome, read_query, write_reply

SUBNET = IPv4Network("172.31.0.0/22")
BRIDGE = IPv4Address("172.31.0.1")
GUEST = "172.31.0.10"
STRANGER = "192.0.2.1"

Message = dns.message.Message
Reply = Message | bytes
Behaviour = Callable[[Message, bool], Iterable[Reply]]
"""From a query, and whether it came over TCP, to what is sent back."""


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def make_zone(name: str = "vm", subnet: IPv4Network = SUBNET) -> Zone:
    zone = Zone(name, subnet=subnet, address=subnet[1])
    zone.set_host("web", [subnet[10], IPv6Address("fd00::10")], ["www"])
    zone.set_host("db", [subnet[11]])
    return zone


class Bench:
    """A responder that is asked without sockets."""

    def __init__(self, responder: Responder) -> None:
        self.responder = responder

    def raw(self, wire: bytes, *, client: str = GUEST, tcp: bool = False) -> bytes | Pending | None:
        return self.responder.respond(wire, client, tcp=tcp)

    def ask(
        self, name: str, rtype: str = "A", *, client: str = GUEST, tcp: bool = False, **more: object
    ) -> Message:
        """The reply to a query made by dnspython, read by dnspython."""
        query = make_query(name, rtype, **more)
        reply = self.raw(query.to_wire(), client=client, tcp=tcp)
        assert isinstance(reply, bytes), reply
        message = dns.message.from_wire(reply)
        assert query.is_response(message) or not message.question
        return message


def make_bench(
    zone: Zone,
    resolvers: Iterable[Resolver] = (),
    limits: Limits | None = None,
    clock: Callable[[], float] | None = None,
) -> Bench:
    forwarder = make_forwarder(resolvers)
    limits = limits or Limits()
    if clock is None:
        return Bench(Responder(zone, forwarder, limits, [SUBNET]))
    return Bench(Responder(zone, forwarder, limits, [SUBNET], clock))


def make_query(name: str, rtype: str = "A", **more: object) -> Message:
    return dns.message.make_query(name, rtype, **more)  # type: ignore[arg-type]


PATIENT = Patience()
# For resolvers that are silent.
QUICK = Patience(head_start_s=0.02, each_s=0.15, in_all_s=0.3)


def make_forwarder(
    resolvers: Iterable[Resolver],
    patience: Patience = PATIENT,
    cache: Cache | None = None,
) -> Forwarder:
    found = tuple(resolvers)
    return Forwarder(
        lambda: found,
        RebindingGuard([SUBNET]),
        Cache(100, 1 << 20) if cache is None else cache,
        patience,
    )


def read_outcome(outcome: Outcome, name: str, rtype: str = "A") -> Message:
    """An outcome as the client sees it."""
    query = read_query(make_query(name, rtype, use_edns=0).to_wire())
    return dns.message.from_wire(write_reply(query, outcome, 65535))


def ede_of(message: Message) -> str:
    """The text of the Extended DNS Error, empty when there is none."""
    for option in message.options:
        if isinstance(option, dns.edns.EDEOption):
            return option.text or ""
    return ""


def answering(
    *records: str, rcode: dns.rcode.Rcode = dns.rcode.NOERROR, authority: Iterable[str] = ()
) -> Behaviour:
    """Answer everything with *records*, in the form of zone files; ``@`` is the name asked."""

    def behave(query: Message, tcp: bool) -> Iterable[Reply]:
        return [reply_to(query, *records, rcode=rcode, authority=authority)]

    return behave


def reply_to(
    query: Message,
    *records: str,
    rcode: dns.rcode.Rcode = dns.rcode.NOERROR,
    authority: Iterable[str] = (),
) -> Message:
    reply = dns.message.make_response(query, recursion_available=True)
    reply.set_rcode(rcode)
    for section, lines in ((reply.answer, records), (reply.authority, authority)):
        for line in lines:
            owner, ttl, rtype, data = line.split(" ", 3)
            name = query.question[0].name if owner == "@" else owner
            section.append(dns.rrset.from_text(name, int(ttl), "IN", rtype, data))
    return reply


class FakeUpstream:
    """A resolver on loopback, over UDP and TCP."""

    def __init__(self, behaviour: Behaviour, address: str = "127.0.0.1") -> None:
        self.behaviour = behaviour
        self.queries: list[tuple[Message, bool]] = []
        self.sources: list[int] = []
        self.sockets = bind([(address, 0)])
        self.resolver = Resolver(*self.sockets.addresses[0])

    @property
    def names(self) -> list[str]:
        return [str(query.question[0].name) for query, _ in self.queries]

    async def serve(self) -> None:
        udp = trio.socket.from_stdlib_socket(self.sockets.udp[0])
        tcp = trio.SocketListener(trio.socket.from_stdlib_socket(self.sockets.tcp[0]))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, self._serve_tcp, [tcp])
            while True:
                wire, source = await udp.recvfrom(4096)
                self.sources.append(source[1])
                for reply in self._replies(wire, False):
                    await udp.sendto(reply, source)

    async def _serve_tcp(self, stream: trio.SocketStream) -> None:
        wire = await read_tcp(stream)
        for reply in self._replies(wire, True):
            await stream.send_all(len(reply).to_bytes(2) + reply)

    def _replies(self, wire: bytes, tcp: bool) -> list[bytes]:
        query = dns.message.from_wire(wire)
        self.queries.append((query, tcp))
        replies = self.behaviour(query, tcp)
        return [
            reply if isinstance(reply, bytes) else reply.to_wire(max_size=65535)
            for reply in replies
        ]


@asynccontextmanager
async def upstreams(*behaviours: Behaviour) -> AsyncIterator[list[FakeUpstream]]:
    """One fake resolver for each behaviour."""
    fakes = [FakeUpstream(behaviour) for behaviour in behaviours]
    with ExitStack() as stack:
        for fake in fakes:
            stack.enter_context(fake.sockets)
        async with trio.open_nursery() as nursery:
            for fake in fakes:
                nursery.start_soon(fake.serve)
            yield fakes
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def serving(
    zone: Zone,
    resolvers: Iterable[Resolver] = (),
    limits: Limits | None = None,
    patience: Patience = PATIENT,
) -> AsyncIterator[tuple[str, int]]:
    """A whole server on loopback; gives its address and port."""
    server = DnsServer(zone, make_forwarder(resolvers, patience), limits)
    with bind([("127.0.0.1", 0)]) as sockets:
        async with trio.open_nursery() as nursery:
            await nursery.start(server.serve, sockets)
            yield sockets.addresses[0]
            nursery.cancel_scope.cancel()


async def ask_udp(server: tuple[str, int], query: Message) -> Message:
    with trio.fail_after(5), trio.socket.socket(type=socket.SOCK_DGRAM) as sock:
        await sock.connect(server)
        await sock.send(query.to_wire())
        return dns.message.from_wire(await sock.recv(4096))


async def read_tcp(stream: trio.SocketStream) -> bytes:
    """One message; empty when the other end has closed."""
    with trio.fail_after(5):
        length = int.from_bytes(await _exactly(stream, 2))
        return await _exactly(stream, length)


async def _exactly(stream: trio.SocketStream, count: int) -> bytes:
    received = b""
    while len(received) < count:
        chunk = await stream.receive_some(count - len(received))
        if not chunk:
            return b""
        received += chunk
    return received
