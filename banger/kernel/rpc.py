"""The server's side of the daemon's socket (`banger.kernel.wire` has the protocol).

Every call runs in its own task. When the client cancels a call or goes away, the call's
task is cancelled, and with it the questions it has put to actors.
"""

from __future__ import annotations

import logging
import socket
import struct
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import msgspec
import trio

from banger.kernel import wire
from banger.kernel.actor import sole_declared_error
from banger.kernel.errors import BangerError, Busy, ErrorReply, ProtocolError, UsageError

log = logging.getLogger(__name__)

CALLS_PER_CONNECTION = 256
CONNECTIONS = 256
RECEIVE_BYTES = 64 << 10
FRAMES_QUEUED = 8
_SO_PEERGROUPS = getattr(socket, "SO_PEERGROUPS", 59)
_GETSOCKOPT_BYTES = 1024  # Python's getsockopt refuses a larger buffer
_UCRED = struct.Struct("iII")


class Peer(msgspec.Struct, frozen=True):
    """Who is at the other end, as the kernel says (SO_PEERCRED, SO_PEERGROUPS)."""

    pid: int
    uid: int
    gid: int
    groups: frozenset[int]

    @classmethod
    def of(cls, sock: trio.socket.SocketType) -> Peer:
        data = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        pid, uid, gid = _UCRED.unpack(data)
        try:
            packed = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _GETSOCKOPT_BYTES)
        except OSError:
            packed = b""  # in more groups than fit: none of them counts
        groups = frozenset(group for (group,) in struct.iter_unpack("I", packed))
        return cls(pid, uid, gid, groups | {gid})


class Received(NamedTuple):
    """An input item, and the bytes of credit it holds until `CallContext.consumed`."""

    item: Any
    size: int


class CallContext:
    """What a handler may do beside returning its result."""

    def __init__(self, call_id: int, connection: _Connection) -> None:
        self.peer = connection.peer
        self.scope = trio.CancelScope()
        self._id = call_id
        self._connection = connection
        self._inputs: deque[msgspec.Raw] = deque()
        self._unconsumed = 0
        self._arrived = trio.Event()

    async def send(self, item: object) -> None:
        """Send one item of the output stream; waits while the client is slow."""
        await self._connection.write(wire.Item(self._id, wire.raw(item)))

    async def receive(self) -> Received:
        """The next input item. Waits for ever when none comes."""
        while not self._inputs:
            self._arrived = trio.Event()
            await self._arrived.wait()
        item = self._inputs.popleft()
        try:
            return Received(self._connection.server.input_decoder.decode(item), len(bytes(item)))
        except wire.BAD_BYTES as error:
            raise UsageError(f"input that does not fit this call: {error}") from None

    async def consumed(self, received: Received) -> None:
        """Let the client send as much again. Until then the item counts as under way."""
        self._unconsumed -= received.size
        await self._connection.write(wire.Credit(self._id, received.size))

    def put(self, item: msgspec.Raw) -> None:
        self._unconsumed += len(bytes(item))
        if self._unconsumed > wire.FEED_WINDOW_BYTES:
            raise ProtocolError("input beyond the credit given")
        self._inputs.append(item)
        self._arrived.set()


Handler = Callable[[Any, CallContext], Awaitable[object]]


class RpcServer:
    """Serves requests of one tagged union; ``handle(request, context)`` returns the result."""

    def __init__(
        self,
        *,
        requests: Any,
        inputs: Any,
        handle: Handler,
        hello: wire.Hello,
        authorize: Callable[[Peer], bool],
    ) -> None:
        self.request_decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(requests)
        self.input_decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(inputs)
        self.handle = handle
        self.hello = hello
        self._authorize = authorize
        self._connections = 0

    async def serve(self, listener: trio.SocketListener) -> None:
        """Accept connections until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                try:
                    stream = await listener.accept()
                except OSError as error:
                    # Out of descriptors: those in use must first be freed.
                    log.warning("accept on the daemon's socket failed: %s", error)
                    await trio.sleep(0.1)
                    continue
                nursery.start_soon(self._connect, stream)

    async def _connect(self, stream: trio.SocketStream) -> None:
        self._connections += 1
        try:
            async with stream:
                peer = Peer.of(stream.socket)
                if self._connections > CONNECTIONS or not self._authorize(peer):
                    log.warning("refused a connection of pid %d, uid %d", peer.pid, peer.uid)
                    return
                await _Connection(stream, peer, self).run()
        except* (trio.BrokenResourceError, trio.ClosedResourceError, ProtocolError) as group:
            log.info("connection ended: %s", group.exceptions[0])
        except* Exception:
            log.exception("a connection failed unexpectedly")
        finally:
            self._connections -= 1


class _Connection:
    """One client. Frames go out through a queue, so that cancelling a call never cuts one."""

    def __init__(self, stream: trio.SocketStream, peer: Peer, server: RpcServer) -> None:
        self.peer = peer
        self.server = server
        self._stream = stream
        self._calls: dict[int, CallContext] = {}
        self._queue, self._outgoing = trio.open_memory_channel[bytes](FRAMES_QUEUED)

    async def run(self) -> None:
        unframer = wire.Unframer()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send_frames)
            await self.write(self.server.hello)
            while data := await self._stream.receive_some(RECEIVE_BYTES):
                for body in unframer.feed(data):
                    await self._take(body, nursery)
            nursery.cancel_scope.cancel()

    async def write(self, message: wire.Message) -> None:
        """Queue a message; waits while the client is slow to read."""
        await self._queue.send(wire.frame(message))

    async def _send_frames(self) -> None:
        async for frame in self._outgoing:
            await self._stream.send_all(frame)

    async def _take(self, body: bytes, nursery: trio.Nursery) -> None:
        try:
            message = wire.client_decoder.decode(body)
        except wire.BAD_BYTES as error:
            raise ProtocolError(f"not a message: {error}") from None
        match message:
            case wire.Call():
                if message.id in self._calls:
                    raise ProtocolError(f"call id {message.id} is in use")
                if len(self._calls) >= CALLS_PER_CONNECTION:
                    busy = Busy(
                        f"{CALLS_PER_CONNECTION} calls are in flight on this connection",
                        hint="wait for some of them to end",
                    )
                    await self.write(wire.Failed(message.id, ErrorReply.of(busy)))
                    return
                context = CallContext(message.id, self)
                self._calls[message.id] = context
                nursery.start_soon(self._run_call, message, context)
            case wire.Feed():
                if (call := self._calls.get(message.id)) is not None:
                    call.put(message.item)
            case wire.Cancel():
                if (call := self._calls.get(message.id)) is not None:
                    call.scope.cancel()

    async def _run_call(self, call: wire.Call, context: CallContext) -> None:
        reply: wire.Message = wire.Failed(
            call.id, ErrorReply.of(BangerError("the call was cancelled"))
        )
        with context.scope:
            reply = await self._answer(call, context)
        try:
            # The call counts until its reply is queued, or a client that reads nothing could
            # pile up replies without limit.
            await self.write(reply)
        finally:
            del self._calls[call.id]

    async def _answer(self, call: wire.Call, context: CallContext) -> wire.Message:
        try:
            try:
                request = self.server.request_decoder.decode(call.request)
            except wire.BAD_BYTES as error:
                raise UsageError(f"the request is not valid: {error}") from None
            result = await self.server.handle(request, context)
            done = wire.Done(call.id, wire.raw(result))
            wire.frame(done)
        except Exception as error:
            declared = sole_declared_error(error)
            if declared is None:
                log.exception("a call failed unexpectedly")
                declared = BangerError(
                    f"internal error: {error!r}", hint="the daemon's log has the traceback"
                )
            return wire.Failed(call.id, ErrorReply.of(declared))
        except BaseExceptionGroup as group:
            # It failed while it was being cancelled: only the latter goes on.
            failures, cancelled = group.split(Exception)
            if failures is not None and sole_declared_error(group) is None:
                log.exception("a cancelled call failed unexpectedly")
            assert cancelled is not None
            raise cancelled from None
        else:
            return done


def listen(sock: socket.socket) -> trio.SocketListener:
    """A listener on a bound and listening socket."""
    sock.setblocking(False)
    return trio.SocketListener(trio.socket.from_stdlib_socket(sock))
