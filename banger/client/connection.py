"""One connection to the daemon: calls, one after another or several at once."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec

from banger.kernel import wire
from banger.kernel.errors import BangerError, ConnectionLost, Interrupted
from banger.kernel.message import Request, reply_type

R = TypeVar("R")

RECEIVE_BYTES = 64 << 10
CALLS_AT_ONCE = 64


class Connection:
    """Raises `ConnectionLost` from every method once the daemon has gone, `Interrupted` once it
    was cancelled. For one thread; `cancel` is for others."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Raises OSError when nobody listens there."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._unframer = wire.Unframer()
        self._messages: deque[wire.ServerMessage] = deque()
        self._ids = itertools.count(1)
        self._under_way: set[int] = set()
        self._cancelled = False
        self._lost = False
        try:
            self._socket.connect(os.fspath(path))
            self.hello = self._greeted(os.fspath(path))
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _greeted(self, path: str) -> wire.Hello:
        hello = self.receive()
        if not isinstance(hello, wire.Hello) or hello.protocol != wire.PROTOCOL:
            raise BangerError(
                f"the daemon at {path} speaks another version of the protocol",
                hint="'banger daemon stop' ends it, the next command starts this version's",
            )
        return hello

    def close(self) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def usable(self) -> bool:
        """Whether it has not failed yet."""
        return not self._lost

    @property
    def cancelled(self) -> bool:
        return self._cancelled

    @property
    def idle(self) -> bool:
        """Whether another command may have it: nothing is under way, and nothing has failed."""
        return not (self._lost or self._cancelled or self._under_way or self._messages)

    def cancel(self) -> None:
        """From another thread: who waits here, or comes next, gets `Interrupted`.

        The daemon sees the client gone, and undoes what it was doing for it.
        """
        self._cancelled = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def call(
        self,
        request: Request[R],
        *,
        items: Any = None,
        on_item: Callable[[Any], None] = lambda item: None,
    ) -> R:
        """Send the request and wait for its result; items of its stream go to ``on_item``.

        ``items`` is their type; None: they are passed over. Raises the request's error.
        """
        call_id = self.begin(request)
        return self.finish(call_id, reply_type(type(request)), items=items, on_item=on_item)

    def finish(
        self,
        call_id: int,
        kind: type[R],
        *,
        items: Any = None,
        on_item: Callable[[Any], None] = lambda item: None,
    ) -> R:
        """Wait for the result of a call that was begun; the only one in flight."""
        while True:
            match self.receive():
                case wire.Item(_, item) if items is not None:
                    on_item(msgspec.msgpack.decode(item, type=items))
                case wire.Done(_, result):
                    return msgspec.msgpack.decode(result, type=kind)
                case wire.Failed(_, error):
                    raise error.to_error()
                case wire.Item() | wire.Credit():
                    pass
                case message:
                    raise AssertionError((call_id, message))

    def call_all(
        self,
        requests: Sequence[Request[R]],
        *,
        at_once: int = CALLS_AT_ONCE,
        feed: Sequence[object] = (),
        items: Any = None,
        on_item: Callable[[int, Any], None] = lambda number, item: None,
        on_outcome: Callable[[int, R | BangerError], None] = lambda number, outcome: None,
    ) -> list[R | BangerError]:
        """Send the requests, many at once; their results or errors in the same order.

        Each gets the input items ``feed``. ``on_item`` and ``on_outcome`` hear of what comes as
        it comes, with the number of the request; ``items`` is the type of stream items, None:
        they are passed over. The daemon refuses what is too many, so ``at_once`` is bounded.
        """
        numbers: dict[int, int] = {}
        outcomes: dict[int, R | BangerError] = {}
        waiting = deque(enumerate(requests))
        while len(outcomes) < len(requests):
            while waiting and len(numbers) - len(outcomes) < min(at_once, CALLS_AT_ONCE):
                number, request = waiting.popleft()
                call_id = self.begin(request)
                numbers[call_id] = number
                for item in feed:
                    self.feed(call_id, item)
            match self.receive():
                case wire.Item(call_id, item) if items is not None:
                    on_item(numbers[call_id], msgspec.msgpack.decode(item, type=items))
                    continue
                case wire.Done(call_id, result):
                    kind = reply_type(type(requests[numbers[call_id]]))
                    outcome: R | BangerError = msgspec.msgpack.decode(result, type=kind)
                case wire.Failed(call_id, error):
                    outcome = error.to_error()
                case _:
                    continue
            outcomes[numbers[call_id]] = outcome
            on_outcome(numbers[call_id], outcome)
        return [outcomes[number] for number in range(len(requests))]

    def begin(self, request: Request[Any]) -> int:
        """Send a request; its messages carry the id returned."""
        call_id = next(self._ids)
        self._under_way.add(call_id)
        self.send(wire.Call(call_id, wire.raw(request)))
        return call_id

    def feed(self, call_id: int, item: object) -> int:
        """Send one input item; returns the bytes of credit it uses."""
        encoded = wire.raw(item)
        self.send(wire.Feed(call_id, encoded))
        return len(bytes(encoded))

    def send(self, message: wire.Message) -> None:
        try:
            self._socket.sendall(wire.frame(message))
        except OSError as error:
            raise self._loss() from error

    def receive(self) -> wire.ServerMessage:
        """The next message; blocks until there is one."""
        while not self._messages:
            self.read()
        return self._messages.popleft()

    def received(self) -> list[wire.ServerMessage]:
        """What has come so far, without blocking."""
        messages = list(self._messages)
        self._messages.clear()
        return messages

    def read(self) -> None:
        """Read once from the socket; blocks when there is nothing to read."""
        try:
            data = self._socket.recv(RECEIVE_BYTES)
        except OSError as error:
            raise self._loss() from error
        if not data:
            raise self._loss()
        try:
            for body in self._unframer.feed(data):
                message = wire.server_decoder.decode(body)
                if isinstance(message, wire.Done | wire.Failed):
                    self._under_way.discard(message.id)
                self._messages.append(message)
        except wire.BAD_BYTES as error:
            raise BangerError(f"the daemon sent what is not a message: {error}") from error

    def detach(self) -> socket.socket:
        """The socket itself, for a loop that reads and writes it; this object is then done for.

        Only for a connection on which nothing was called yet.
        """
        return self._socket

    def _loss(self) -> BangerError:
        self._lost = True
        if self._cancelled:
            return Interrupted()
        return ConnectionLost(
            "the connection to the daemon was lost",
            hint="its log is bangerd.log in the state directory",
        )
