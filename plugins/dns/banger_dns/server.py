"""The DNS server: sockets in front of a responder."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_network

import trio

from banger_dns.answers import Cache
from banger_dns.forwarder import Forwarder
from banger_dns.limits import Limits, Places
from banger_dns.rebinding import Network, RebindingGuard
from banger_dns.resolvers import HostResolvers, Resolver
from banger_dns.responder import Pending, Responder
from banger_dns.sockets import Sockets
from banger_dns.zone import Zone

log = logging.getLogger(__name__)

_BATCH = 32
_LARGEST_DATAGRAM = 4096
_LENGTH_BYTES = 2
_LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


class DnsServer:
    """Answers the zone's subnet, loopback and *clients* on the sockets it is given."""

    def __init__(
        self,
        zone: Zone,
        forwarder: Forwarder,
        limits: Limits | None = None,
        clients: Iterable[Network] = (),
    ) -> None:
        self._limits = limits or Limits()
        self._forwarder = forwarder
        self._connections = Places(
            self._limits.tcp_connections, self._limits.tcp_connections_per_client
        )
        networks = (zone.subnet, *_LOOPBACK, *clients)
        self._responder = Responder(zone, forwarder, self._limits, networks)

    async def serve(
        self,
        sockets: Sockets,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until cancelled. The sockets remain the caller's to close."""
        self._forwarder.never_ask(sockets.addresses)
        async with trio.open_nursery() as nursery:
            for sock in sockets.udp:
                nursery.start_soon(self._serve_udp, sock, nursery)
            for sock in sockets.tcp:
                listener = trio.SocketListener(trio.socket.from_stdlib_socket(sock))
                nursery.start_soon(trio.serve_listeners, self._serve_tcp, [listener])
            task_status.started()

    async def _serve_udp(self, sock: socket.socket, nursery: trio.Nursery) -> None:
        # Plain non-blocking calls: going through the scheduler once a batch, not twice a
        # datagram, more than doubles what one core can answer.
        while True:
            await trio.lowlevel.wait_readable(sock)
            for _ in range(_BATCH):
                try:
                    packet, source = sock.recvfrom(_LARGEST_DATAGRAM)
                except OSError:
                    # Read empty, or the network's complaint about some earlier reply.
                    break
                reply = self._respond(packet, source[0], tcp=False)
                if isinstance(reply, Pending):
                    nursery.start_soon(self._resolve_udp, sock, source, reply)
                elif reply is not None:
                    _send(sock, reply, source)

    async def _resolve_udp(
        self, sock: socket.socket, source: tuple[str | int, ...], pending: Pending
    ) -> None:
        reply = await self._resolve(pending)
        if reply is not None:
            _send(sock, reply, source)

    async def _serve_tcp(self, stream: trio.SocketStream) -> None:
        """Answer one connection's queries, forwarded ones as their answers come in."""
        try:
            client = stream.socket.getpeername()[0]
        except OSError:
            client = ""
        with self._connections.hold(client) as held:
            async with stream:
                if not held or not client or not self._responder.admits(client):
                    return
                try:
                    async with trio.open_nursery() as nursery:
                        await self._converse(stream, client, nursery)
                except* (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
                    log.debug("the DNS connection of %s broke", client)

    async def _converse(
        self, stream: trio.SocketStream, client: str, nursery: trio.Nursery
    ) -> None:
        sending = trio.Lock()
        received = bytearray()
        while True:
            query = await self._next_query(stream, received)
            if query is None:
                return
            reply = self._respond(query, client, tcp=True)
            if isinstance(reply, Pending):
                nursery.start_soon(self._resolve_tcp, stream, sending, reply)
            elif reply is not None:
                await self._send_tcp(stream, sending, reply)

    async def _next_query(self, stream: trio.SocketStream, received: bytearray) -> bytes | None:
        """The next query from the stream, by way of *received*; None at the end."""
        with trio.fail_after(self._limits.tcp_idle_s):
            while True:
                end = _LENGTH_BYTES + int.from_bytes(received[:_LENGTH_BYTES])
                if len(received) >= end:
                    query = bytes(received[_LENGTH_BYTES:end])
                    del received[:end]
                    return query
                chunk = await stream.receive_some(_LARGEST_DATAGRAM)
                if not chunk:
                    return None
                received += chunk

    async def _resolve_tcp(
        self, stream: trio.SocketStream, sending: trio.Lock, pending: Pending
    ) -> None:
        reply = await self._resolve(pending)
        if reply is not None:
            await self._send_tcp(stream, sending, reply)

    async def _send_tcp(self, stream: trio.SocketStream, sending: trio.Lock, reply: bytes) -> None:
        with trio.fail_after(self._limits.tcp_idle_s):
            async with sending:
                await stream.send_all(len(reply).to_bytes(_LENGTH_BYTES) + reply)

    def _respond(self, packet: bytes, client: str, *, tcp: bool) -> bytes | Pending | None:
        try:
            return self._responder.respond(packet, client, tcp=tcp)
        except Exception:
            # A bug; but no guest shall end the service for all others with a packet.
            log.exception("a DNS packet of %s: %s", client, packet.hex())
            return None

    async def _resolve(self, pending: Pending) -> bytes | None:
        try:
            return await self._responder.resolve(pending)
        except Exception:
            log.exception("forwarding %r for %s", pending.question, pending.client)
            return None


def make_server(
    zone: Zone,
    *,
    resolvers: Callable[[], Sequence[Resolver]] | None = None,
    limits: Limits | None = None,
    clients: Iterable[Network] = (),
) -> DnsServer:
    """A server with a forwarder of its own, by default to the host's resolvers."""
    limits = limits or Limits()
    guard = RebindingGuard([zone.subnet, ip_network(zone.address)])
    cache = Cache(limits.cache_entries, limits.cache_bytes)
    return DnsServer(zone, Forwarder(resolvers or HostResolvers(), guard, cache), limits, clients)


def _send(sock: socket.socket, reply: bytes, source: tuple[str | int, ...]) -> None:
    try:
        sock.sendto(reply, source)
    except OSError:
        # Gone, forbidden or too fast for its link: DNS over UDP may be lost, clients ask again.
        log.debug("a DNS reply to %s was lost", source)
