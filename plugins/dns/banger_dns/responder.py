"""From a packet to its reply: what is answered, refused, forwarded or dropped."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from ipaddress import ip_address

import msgspec

from banger_dns.answers import Question
from banger_dns.errors import Malformed
from banger_dns.forwarder import Forwarder
from banger_dns.limits import Limits, Places, TokenBuckets
from banger_dns.rebinding import Network
from banger_dns.special import find_special
from banger_dns.wire import (
    AD,
    CD,
    HEADER,
    IN,
    RD,
    TCP_PAYLOAD,
    Ede,
    Outcome,
    Query,
    Rcode,
    Type,
    failure,
    header_reply,
    read_query,
    write_reply,
)
from banger_dns.zone import Zone

_RESPONSE_BIT, _OPCODE_BITS = 0x80, 0x78  # of a packet's third byte
_TRANSFERS = frozenset({Type.AXFR, Type.IXFR})
_META_TYPES = frozenset({Type.OPT, Type.TKEY, Type.TSIG, Type.MAILA, Type.MAILB})

_REPLIES_REMEMBERED = 4096
_LONGEST_REMEMBERED = 300


class Pending(msgspec.Struct, frozen=True):
    """A query to be forwarded. Has a place of its client's until `Responder.resolve` ends."""

    query: Query
    question: Question
    client: str
    limit: int


class Responder:
    """Answers *clients*, networks, and refuses everybody else."""

    def __init__(
        self,
        zone: Zone,
        forwarder: Forwarder,
        limits: Limits,
        clients: Iterable[Network],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._zone = zone
        self._forwarder = forwarder
        self._networks = tuple(clients)
        self._known: dict[str, bool] = {}
        most = limits.clients_remembered
        self._most_known = most
        self._queries = TokenBuckets(limits.queries_per_s, limits.queries_per_s, most, clock)
        self._forwards = TokenBuckets(
            limits.forwarded_per_s, 2 * limits.forwarded_per_s, most, clock
        )
        self._refusals = TokenBuckets(limits.refusals_per_s, limits.refusals_per_s, 1, clock)
        self.places = Places(limits.forwarded_at_once, limits.forwarded_at_once_per_client)
        # Whole replies by query, both without id, for as long as the zone does not change.
        self._replies: dict[bytes, bytes] = {}
        self._replies_version = zone.version

    def admits(self, client: str) -> bool:
        """Whether *client*, a numeric address, may ask at all."""
        admitted = self._known.get(client)
        if admitted is None:
            if len(self._known) >= self._most_known:
                self._known.clear()
            address = ip_address(client)
            admitted = any(address in network for network in self._networks)
            self._known[client] = admitted
        return admitted

    def respond(self, packet: bytes, client: str, *, tcp: bool = False) -> bytes | Pending | None:
        """The reply, or what to await for it with `resolve`; None when there shall be none.

        Never raises because of *packet*.
        """
        if len(packet) < HEADER.size or packet[2] & _RESPONSE_BIT:
            return None
        if not self.admits(client):
            # The header alone: never larger than what came.
            within = self._refusals.take("")
            return header_reply(packet, Rcode.REFUSED) if within else None
        if not self._queries.take(client):
            return None
        if tcp:
            return self._consider(packet, client, tcp=True)
        if self._replies_version != self._zone.version:
            self._replies.clear()
            self._replies_version = self._zone.version
        reply = self._replies.get(packet[2:])
        if reply is not None:
            return packet[:2] + reply
        return self._consider(packet, client, tcp=False)

    async def resolve(self, pending: Pending) -> bytes:
        """Forward the query; the reply comes within the forwarder's patience."""
        try:
            ad = _wants_ad(pending.query)
            outcome = await self._forwarder.resolve(pending.question, ad=ad)
            return write_reply(pending.query, outcome, pending.limit)
        finally:
            self.places.give_back(pending.client)

    def _consider(self, packet: bytes, client: str, *, tcp: bool) -> bytes | Pending:
        if packet[2] & _OPCODE_BITS:
            return header_reply(packet, Rcode.NOTIMP)
        try:
            query = read_query(packet)
        except Malformed:
            return header_reply(packet, Rcode.FORMERR)
        limit = TCP_PAYLOAD if tcp else query.udp_limit
        outcome = _objection(query)
        if outcome is not None:
            return write_reply(query, outcome, limit)
        outcome = self._find_local(query)
        if outcome is not None:
            reply = write_reply(query, outcome, limit)
            if not tcp and len(packet) <= _LONGEST_REMEMBERED:
                if len(self._replies) >= _REPLIES_REMEMBERED:
                    self._replies.clear()
                self._replies[packet[2:]] = reply[2:]
            return reply
        decided = self._forward(query, client, limit)
        return write_reply(query, decided, limit) if isinstance(decided, Outcome) else decided

    def _find_local(self, query: Query) -> Outcome | None:
        found = self._zone.find(query.labels, query.qtype)
        if found is None:
            self._forwarder.loops.saw(query.labels)
            found = find_special(query.labels, query.qtype)
        return found

    def _forward(self, query: Query, client: str, limit: int) -> Outcome | Pending:
        if query.qtype == Type.ANY:
            return failure(Rcode.NOTIMP, Ede.NOT_SUPPORTED, "ANY is not forwarded")
        if not query.flags & RD:
            return failure(Rcode.REFUSED, Ede.NOT_AUTHORITATIVE, "not asked to recurse")
        question = Question(query.labels, query.qtype, query.do, bool(query.flags & CD))
        known = self._forwarder.peek(question, ad=_wants_ad(query))
        if known is not None:
            return known
        if not self._forwards.take(client):
            return failure(Rcode.SERVFAIL, Ede.OTHER, "too many queries a second")
        if not self.places.take(client):
            return failure(Rcode.SERVFAIL, Ede.OTHER, "too many queries at once")
        if self._is_of_host(client) or self._forwarder.is_resolver(client):
            self._forwarder.suspect(question)
        return Pending(query, question, client, limit)

    def _is_of_host(self, client: str) -> bool:
        address = ip_address(client)
        return address == self._zone.address or address not in self._zone.subnet


def _wants_ad(query: Query) -> bool:
    return query.do or bool(query.flags & AD)


def _objection(query: Query) -> Outcome | None:
    """The reply to a query that is not answered whatever its name is."""
    if query.edns is not None and query.edns.version:
        return Outcome(rcode=Rcode.BADVERS)
    if query.qclass != IN:
        return failure(Rcode.REFUSED, Ede.NOT_SUPPORTED, "only class IN")
    if query.qtype in _TRANSFERS:
        return failure(Rcode.REFUSED, Ede.NOT_SUPPORTED, "no zone transfers")
    if query.qtype in _META_TYPES:
        return failure(Rcode.NOTIMP, Ede.NOT_SUPPORTED, "no such query type")
    return None
