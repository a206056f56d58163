"""A small service over a real UNIX socket, and a bare client, for the tests of RPC."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import trio

from banger.kernel import wire
from banger.kernel.errors import BangerError, NotFound
from banger.kernel.message import Request
from banger.kernel.rpc import CallContext, Peer, RpcServer, listen


class Echo(Request[str], frozen=True, tag="echo"):
    text: str


class Hang(Request[None], frozen=True, tag="hang"):
    """Until cancelled; then fail with the error of this kind, if one is given."""

    then: str = ""


class Count(Request[int], frozen=True, tag="count"):
    """stream: ``size`` bytes, ``items`` times."""

    items: int
    size: int = 1


class Pour(Request[int], frozen=True, tag="pour"):
    """feed: Chunk; an empty one ends it. Waits at ``gate`` first."""

    gate: bool = False


class Big(Request[bytes], frozen=True, tag="big"):
    size: int
    stream: bool = False


class Fail(Request[None], frozen=True, tag="fail"):
    how: str


class Chunk(msgspec.Struct, frozen=True, tag="chunk", forbid_unknown_fields=True):
    data: bytes


class Unrelated(msgspec.Struct, frozen=True, tag="unrelated"):
    pass


AnyCall = Echo | Hang | Count | Pour | Big | Fail


class Service:
    """The handlers, with what the tests want to know of them."""

    def __init__(self, path: Path, authorize: Callable[[Peer], bool]) -> None:
        self.path = path
        self.served = 0
        self.active = 0
        self.peers: set[Peer] = set()
        self.gate = trio.Event()
        self.clients: list[Client] = []
        self._scope = trio.CancelScope()
        self._stopped = trio.Event()
        self.server = RpcServer(
            requests=AnyCall,
            inputs=Chunk | Unrelated,
            handle=self.handle,
            hello=wire.Hello(wire.PROTOCOL, "test", 1),
            authorize=authorize,
        )

    async def handle(self, request: Any, context: CallContext) -> object:
        self.served += 1
        self.active += 1
        self.peers.add(context.peer)
        try:
            return await self._answer(request, context)
        finally:
            self.active -= 1

    async def _answer(self, request: Any, context: CallContext) -> object:
        match request:
            case Echo():
                return request.text
            case Hang():
                await hang(request.then)
            case Count():
                for _ in range(request.items):
                    await context.send(bytes(request.size))
                return request.items
            case Pour():
                if request.gate:
                    await self.gate.wait()
                total = 0
                while True:
                    received = await context.receive()
                    await context.consumed(received)
                    if not received.item.data:
                        return total
                    total += len(received.item.data)
            case Big():
                if request.stream:
                    await context.send(bytes(request.size))
                return bytes(request.size)
            case Fail():
                await fail(request.how)
        return None

    async def run(self, listener: trio.SocketListener) -> None:
        with self._scope:
            await self.server.serve(listener)
        self._stopped.set()

    async def stop(self) -> None:
        self._scope.cancel()
        await self._stopped.wait()

    async def dial(self) -> Client:
        """A connection that is closed with the service at the latest."""
        client = Client(await trio.open_unix_socket(self.path))
        self.clients.append(client)
        return client

    async def connect(self) -> Client:
        """A connection that the server has greeted."""
        client = await self.dial()
        assert isinstance(await client.receive(), wire.Hello)
        return client


async def hang(then: str) -> None:
    """Sleep in one task; in another one fail with the cancellation."""

    async def fail_at_the_end() -> None:
        try:
            await trio.sleep_forever()
        finally:
            await fail(then)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        nursery.start_soon(fail_at_the_end)


async def fail(how: str) -> None:
    match how:
        case "declared":
            raise NotFound("no such thing", hint="look elsewhere")
        case "declared in a nursery":
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                nursery.start_soon(fail, "declared")
        case "bug":
            raise ZeroDivisionError("as asked")
        case "bug in a nursery":
            async with trio.open_nursery() as nursery:
                nursery.start_soon(fail, "bug")
        case "huge bug":
            raise ValueError("x" * (2 << 20))
        case "unprintable":
            raise NotFound("file \udcff is missing")


class Client:
    """Sends what it is told to, receives what comes."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._unframer = wire.Unframer()
        self._received: deque[wire.ServerMessage] = deque()

    async def send(self, *messages: wire.ClientMessage) -> None:
        await self.stream.send_all(b"".join(wire.frame(message) for message in messages))

    async def call(self, call_id: int, request: object) -> None:
        await self.send(wire.Call(call_id, wire.raw(request)))

    async def feed(self, call_id: int, *items: object) -> None:
        await self.send(*(wire.Feed(call_id, wire.raw(item)) for item in items))

    async def receive(self) -> wire.ServerMessage:
        """Raises EOFError when the server has closed the connection."""
        while not self._received:
            try:
                data = await self.stream.receive_some(64 << 10)
            except trio.BrokenResourceError:
                data = b""
            if not data:
                raise EOFError
            self._received += map(wire.server_decoder.decode, self._unframer.feed(data))
        return self._received.popleft()

    async def result(self, call_id: int) -> Any:
        """The next message, which must end this call. Raises the call's error."""
        match await self.receive():
            case wire.Done(id, result):
                assert id == call_id
                return msgspec.msgpack.decode(result)
            case wire.Failed(id, error):
                assert id == call_id
                raise error.to_error()
            case other:
                raise AssertionError(f"not the end of a call: {other}")

    async def error(self, call_id: int) -> BangerError:
        try:
            result = await self.result(call_id)
        except BangerError as error:
            return error
        raise AssertionError(f"call {call_id} returned {result!r}")

    async def ask(self, request: object, call_id: int = 1) -> Any:
        await self.call(call_id, request)
        return await self.result(call_id)

    async def expect_disconnect(self) -> None:
        try:
            while True:
                await self.receive()
        except EOFError:
            return


def everyone(_: Peer) -> bool:
    return True


@asynccontextmanager
async def serving(
    directory: Path, authorize: Callable[[Peer], bool] = everyone
) -> AsyncIterator[Service]:
    """A running service. At the end it is stopped, whoever is connected, and must be gone soon."""
    service = Service(directory / "socket", authorize)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(service.path))
        sock.listen(128)
        listener = listen(sock)
        async with listener, trio.open_nursery() as nursery:
            nursery.start_soon(service.run, listener)
            try:
                with trio.fail_after(10):
                    yield service
                with trio.fail_after(2):
                    await service.stop()
            finally:
                nursery.cancel_scope.cancel()
                for client in service.clients:
                    client.stream.socket.close()
    assert service.active == 0
