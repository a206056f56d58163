"""One question to one resolver."""

from __future__ import annotations

import secrets

import trio

from banger_dns.answers import Question
from banger_dns.errors import Malformed, UpstreamFailed
from banger_dns.replies import Reply, read_reply
from banger_dns.resolvers import Resolver
from banger_dns.wire import HEADER, OPCODE, QR, TC, UDP_PAYLOAD, Ede, Edns, Rcode

_LARGEST_DATAGRAM = 4096
_LENGTH_BYTES = 2

_USABLE: frozenset[int] = frozenset({Rcode.NOERROR, Rcode.NXDOMAIN, Rcode.YXDOMAIN})
_NO_EDNS: frozenset[int] = frozenset({Rcode.FORMERR, Rcode.NOTIMP})


async def ask(resolver: Resolver, question: Question) -> Reply:
    """Ask over UDP, and over TCP when the reply was truncated.

    Id and source port are new and random for each query; whatever comes from elsewhere, with
    another id or to another question is passed over. Has no deadline of its own. Raises
    UpstreamFailed when the resolver can't be reached or has no answer.
    """
    try:
        reply = await _ask(resolver, question, Edns(UDP_PAYLOAD, 0, question.do))
        if reply.rcode in _NO_EDNS and not question.do:
            # Old routers reject what they don't know of.
            reply = await _ask(resolver, question, None)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UpstreamFailed(f"{resolver}: {reason}", ede=Ede.NETWORK_ERROR) from error
    if reply.rcode not in _USABLE:
        raise _said_no(resolver, reply)
    return reply


async def _ask(resolver: Resolver, question: Question, edns: Edns | None) -> Reply:
    query = question.query(secrets.randbelow(1 << 16), edns)
    wire = await _ask_udp(resolver, query, question)
    if HEADER.unpack_from(wire)[1] & TC:
        wire = await _ask_tcp(resolver, query)
        if not _belongs(wire, query, question):
            raise UpstreamFailed(f"{resolver} answered something else", ede=Ede.OTHER)
    repeated = question.wire if HEADER.unpack_from(wire)[2] else b""
    try:
        return read_reply(wire, HEADER.size + len(repeated))
    except Malformed as error:
        raise UpstreamFailed(f"{resolver} sent a broken answer", ede=Ede.OTHER) from error


async def _ask_udp(resolver: Resolver, query: bytes, question: Question) -> bytes:
    family, target = resolver.target()
    with trio.socket.socket(family, trio.socket.SOCK_DGRAM) as sock:
        # A connected socket gets a random port, and datagrams of its peer only.
        await sock.connect(target)
        await sock.send(query)
        while True:
            reply = await sock.recv(_LARGEST_DATAGRAM)
            if _belongs(reply, query, question):
                return reply


async def _ask_tcp(resolver: Resolver, query: bytes) -> bytes:
    family, target = resolver.target()
    with trio.socket.socket(family, trio.socket.SOCK_STREAM) as sock:
        await sock.connect(target)
        stream = trio.SocketStream(sock)
        try:
            await stream.send_all(len(query).to_bytes(_LENGTH_BYTES) + query)
            length = int.from_bytes(await _receive_exactly(stream, _LENGTH_BYTES))
            return await _receive_exactly(stream, length)
        except trio.BrokenResourceError as error:
            raise ConnectionResetError("connection lost") from error


async def _receive_exactly(stream: trio.SocketStream, count: int) -> bytes:
    received = bytearray()
    while len(received) < count:
        chunk = await stream.receive_some(count - len(received))
        if not chunk:
            raise trio.BrokenResourceError
        received += chunk
    return bytes(received)


def _belongs(reply: bytes, query: bytes, question: Question) -> bool:
    """Whether *reply* has the id and the question of *query*."""
    if len(reply) < HEADER.size or reply[:2] != query[:2]:
        return False
    _, flags, questions, *_ = HEADER.unpack_from(reply)
    if not flags & QR or flags & OPCODE:
        return False
    if questions == 0:
        # Some who don't understand a query don't repeat it either.
        return flags & 0xF not in _USABLE
    asked = question.wire
    echoed = reply[HEADER.size : HEADER.size + len(asked)]
    same_name = echoed[:-4].lower() == asked[:-4]
    return questions == 1 and same_name and echoed[-4:] == asked[-4:]


def _said_no(resolver: Resolver, reply: Reply) -> UpstreamFailed:
    try:
        name = Rcode(reply.rcode).name
    except ValueError:
        name = f"error {reply.rcode}"
    ede, why = reply.ede or (Ede.NO_REACHABLE_AUTHORITY, "")
    text = f"{resolver} answered {name}" + (f": {why}" if why else "")
    return UpstreamFailed(text, ede=ede, answered=True)
