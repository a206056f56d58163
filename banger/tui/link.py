"""The daemon on asyncio's loop: many calls at once on one connection."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import msgspec

from banger.client import launch
from banger.host.places import Places
from banger.kernel import wire
from banger.kernel.errors import BangerError, ConnectionLost
from banger.kernel.message import Request, reply_type

R = TypeVar("R")

RECEIVE_BYTES = 64 << 10


class Link:
    """Raises `ConnectionLost` from every call once the daemon has gone."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._ids = itertools.count(1)
        self._streams: dict[int, Stream] = {}
        self.lost = False
        self._receiving = asyncio.create_task(self._receive())

    @classmethod
    async def open(cls, places: Places, *, start: bool) -> Link | None:
        """None: no daemon runs. With ``start`` one is started then.

        Raises `HostNotReady`.
        """
        find = launch.connect_or_start if start else launch.connect
        connection = await asyncio.to_thread(find, places)
        if connection is None:
            return None
        return cls(*await asyncio.open_unix_connection(sock=connection.detach()))

    async def close(self) -> None:
        self._receiving.cancel()
        self._writer.close()

    async def call(self, request: Request[R]) -> R:
        """The result; what comes before it is passed over. Cancelling cancels the call."""
        with self.stream(request) as stream:
            async for _ in stream:
                pass
            assert stream.result is not None
            return msgspec.msgpack.decode(stream.result, type=reply_type(type(request)))

    @contextmanager
    def stream(self, request: Request[Any], kind: Any = None) -> Iterator[Stream]:
        """Begins the call at once. Leaving the block before its end cancels it."""
        call_id = next(self._ids)
        stream = Stream(kind)
        if self.lost:
            raise _lost()
        self._streams[call_id] = stream
        self._writer.write(wire.frame(wire.Call(call_id, wire.raw(request))))
        try:
            yield stream
        finally:
            del self._streams[call_id]
            if not stream.ended and not self.lost:
                self._writer.write(wire.frame(wire.Cancel(call_id)))

    async def _receive(self) -> None:
        unframer = wire.Unframer()
        try:
            while data := await self._reader.read(RECEIVE_BYTES):
                for body in unframer.feed(data):
                    self._take(wire.server_decoder.decode(body))
        except (OSError, BangerError, *wire.BAD_BYTES):
            pass  # whatever it was, this connection is of no more use
        finally:
            self.lost = True
            for stream in self._streams.values():
                stream.put(None)

    def _take(self, message: wire.ServerMessage) -> None:
        if not isinstance(message, wire.Hello) and message.id in self._streams:
            self._streams[message.id].put(message)


class Stream:
    """Iterate over it to get the items of the call's output, of this type; None: as they came.

    Raises the request's error, or `ConnectionLost`. ``result`` is there after the last item.
    """

    def __init__(self, kind: Any) -> None:
        self.result: msgspec.Raw | None = None
        self.ended = False
        self._kind = kind
        self._queue: asyncio.Queue[wire.ServerMessage | None] = asyncio.Queue()

    def put(self, message: wire.ServerMessage | None) -> None:
        """None: the daemon has gone."""
        self._queue.put_nowait(message)

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> Any:
        while not self.ended:
            match await self._queue.get():
                case None:
                    self.ended = True
                    raise _lost()
                case wire.Failed(_, error):
                    self.ended = True
                    raise error.to_error()
                case wire.Done(_, result):
                    self.ended = True
                    self.result = result
                case wire.Item(_, item):
                    return item if self._kind is None else _decode(item, self._kind)
        raise StopAsyncIteration


def _decode(item: msgspec.Raw, kind: Any) -> Any:
    return msgspec.msgpack.decode(item, type=kind)


def _lost() -> ConnectionLost:
    return ConnectionLost("the connection to the daemon was lost")
