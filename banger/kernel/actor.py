"""Actors: a mailbox, a loop, and requests that name their reply type.

A request is a frozen struct; asking returns exactly what its type parameter says::

    class AcquireTap(Request[TapLease], frozen=True):
        vm: str

    lease = await pool.ask(AcquireTap(vm="web-1"))

The mailbox is a rendezvous channel (buffer 0): a buffered one drops what is queued when
the receiver closes, and the askers would hang. Each request travels in an `Envelope` that
the actor holds with ``with envelope:``. Whatever happens inside, the asker hears of it:

- ``envelope.reply(value)``: `ask` returns the value;
- a `BangerError` raised inside the block: `ask` raises it, the actor goes on;
- any other exception: `ask` raises `ActorDied`, the exception goes on to the supervisor;
- the actor is cancelled or its mailbox is closed: `ask` raises `ActorStopped`.

An asker that is cancelled sets ``envelope.abandoned``; whether that ends the work is the
actor's choice (`cancelled_when_abandoned`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Any, Generic, TypeVar

import trio

from banger.kernel.errors import ActorDied, ActorStopped, BangerError
from banger.kernel.message import Request

R = TypeVar("R")


class Envelope(Generic[R]):
    """A request on its way, with a one-slot channel for the answer."""

    def __init__(self, request: Request[R], asked: str) -> None:
        self.request: Any = request
        self.abandoned = trio.Event()
        self._asked = asked
        self._send, self._receive = trio.open_memory_channel[R | BangerError](1)

    def reply(self, value: R) -> None:
        self._answer(value)

    def fail(self, error: BangerError) -> None:
        self._answer(error)

    def _answer(self, answer: R | BangerError) -> None:
        with suppress(trio.BrokenResourceError):  # the asker has gone away
            self._send.send_nowait(answer)
        self._send.close()

    def __enter__(self) -> Envelope[R]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if self.answered:
            return False
        declared = sole_declared_error(error)
        if declared is not None:
            self.fail(declared)
            return True
        if isinstance(error, Exception):
            name = type(self.request).__name__
            self.fail(ActorDied(f"{self._asked} crashed on {name}: {error!r}"))
        self._send.close()
        return False

    @property
    def answered(self) -> bool:
        return self._send.statistics().open_send_channels == 0

    async def outcome(self) -> R:
        """Wait for the answer. Cancellation marks the envelope as abandoned."""
        with self._receive:
            try:
                answer = await self._receive.receive()
            except trio.EndOfChannel:
                raise ActorStopped(f"{self._asked} stopped before it answered") from None
            except BaseException:
                self.abandoned.set()
                raise
        if isinstance(answer, BangerError):
            raise answer
        return answer


class Inbox:
    """The actor's end of its mailbox: iterate over it to get envelopes, until it is closed."""

    def __init__(self, receive: trio.MemoryReceiveChannel[Envelope[Any]]) -> None:
        self._receive = receive

    def __aiter__(self) -> Inbox:
        return self

    async def __anext__(self) -> Envelope[Any]:
        try:
            return await self._receive.receive()
        except (trio.EndOfChannel, trio.ClosedResourceError):
            raise StopAsyncIteration from None

    def close(self) -> None:
        """Refuse everything from now on; blocked askers get `ActorStopped`."""
        self._receive.close()


class Ref:
    """What others hold of an actor. It stays valid when the actor is restarted."""

    def __init__(self, name: str, send: trio.MemorySendChannel[Envelope[Any]]) -> None:
        self.name = name
        self._send = send

    def __repr__(self) -> str:
        return f"<Ref {self.name}>"

    async def ask(self, request: Request[R]) -> R:
        """Send the request and wait for its reply; deadlines are the asker's (`trio.fail_after`).

        Raises the declared errors of the request, `ActorStopped` or `ActorDied`.
        Cancelling abandons the request.
        """
        envelope = Envelope(request, self.name)
        try:
            await self._send.send(envelope)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise ActorStopped(f"{self.name} is not running") from None
        return await envelope.outcome()


class Actor:
    """Base of every actor. ``run`` owns the actor's state and ends when the actor is done."""

    name: str

    async def run(self, inbox: Inbox) -> None:
        raise NotImplementedError


def mailbox(name: str) -> tuple[Ref, Inbox]:
    """A connected pair of ends."""
    send, receive = trio.open_memory_channel[Envelope[Any]](0)
    return Ref(name, send), Inbox(receive)


@asynccontextmanager
async def cancelled_when_abandoned(envelope: Envelope[Any]) -> AsyncIterator[None]:
    """Cancel the body as soon as the asker has gone away, and leave quietly.

    After a body that was ended so, ``envelope.abandoned`` is set and no reply was given.
    """
    async with trio.open_nursery() as nursery:

        async def watch() -> None:
            await envelope.abandoned.wait()
            nursery.cancel_scope.cancel()

        nursery.start_soon(watch)
        yield
        nursery.cancel_scope.cancel()


def sole_declared_error(error: BaseException | None) -> BangerError | None:
    """The one `BangerError` inside, if nothing else went wrong.

    Nurseries wrap what they raise in groups; cancellations that a failure caused beside it
    do not count as a second failure.
    """
    if isinstance(error, BangerError):
        return error
    if not isinstance(error, BaseExceptionGroup):
        return None
    declared, rest = error.split(BangerError)
    if declared is None or (rest is not None and rest.split(trio.Cancelled)[1] is not None):
        return None
    first: BaseException = declared
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    assert isinstance(first, BangerError)
    return first
