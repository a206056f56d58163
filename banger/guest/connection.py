"""One connection to the agent: HTTP/1.1 by h11 over any byte stream."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import h11
import msgspec
import trio

from banger.guest.patience import Patience
from banger.kernel.errors import BangerError, ConnectionLost, GuestError, NotFound, UsageError
from banger.kernel.wire import BAD_BYTES
from banger.model.text import printable

RECEIVE_BYTES = 64 << 10
JSON_LIMIT_BYTES = 16 << 20
HEAD_LIMIT_BYTES = 16 << 10
ANSWER_DEADLINE_S = 30.0
"""For one piece of an answer; an emulated guest on a busy host is slow."""
RESYNC_PAUSE_S = 1.0
STALE_LIMIT_BYTES = 4 << 20
"""How much of a predecessor's reply is skipped before the port is given up."""

_DISTRUSTED = (400, 408, 411, 413, 431)
"""After these the agent may hear nothing but the request that resynchronises."""

Headers = Sequence[tuple[str, str]]


class AgentFailure(GuestError):
    """The agent answered with an error status. ``errno`` is the guest's, 0 if none."""

    status = 0
    errno = 0


class _ErrorBody(msgspec.Struct, frozen=True):
    error: str
    errno: int = 0


class AgentConnection:
    """Requests one after another. After an error that is not the agent's own, close it."""

    def __init__(self, stream: trio.abc.Stream, patience: Patience | None = None) -> None:
        self.patience = patience or Patience()
        self._stream = stream
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_LIMIT_BYTES)
        self._answer_s = ANSWER_DEADLINE_S

    async def aclose(self) -> None:
        await trio.aclose_forcefully(self._stream)

    async def resynchronise(self) -> None:
        """Get past what a predecessor left on the port: skip to the reply to a fresh id.

        The question is put again, with another id, after a pause that grows: what was torn
        off in the middle on the port may have swallowed the first. Waits for the agent for
        as long as the caller lets it.
        """
        stale = _Stale()
        pause_s = RESYNC_PAUSE_S
        while True:
            nonce = secrets.token_hex(16)
            head = f"GET /healthz HTTP/1.1\r\nHost: guest\r\nX-Request-Id: {nonce}\r\n\r\n"
            await self._send(head.encode())
            with trio.move_on_after(pause_s):
                while (reply := stale.reply_to(nonce)) is None:
                    stale.add(await self._receive_some())
                break
            pause_s *= 2
        self.restart()
        self._http.send(h11.Request(method="GET", target="/healthz", headers=[("Host", "guest")]))
        self._http.send(h11.EndOfMessage())
        self._http.receive_data(reply)
        await self._response()
        await self._body(JSON_LIMIT_BYTES)
        self._end_exchange()

    async def request(
        self,
        method: str,
        target: str,
        *,
        headers: Headers = (),
        body: bytes = b"",
        answer_s: float = ANSWER_DEADLINE_S,
    ) -> bytes:
        """A whole request and its whole reply (at most `JSON_LIMIT_BYTES`), which begins within
        ``answer_s``.

        Raises `AgentFailure` for an error status.
        """
        await self.begin(method, target, headers=headers, length=len(body))
        if body:
            await self.send_body(body)
        await self.end_body()
        self._answer_s = answer_s
        try:
            await self._response()
        finally:
            self._answer_s = ANSWER_DEADLINE_S
        reply = await self._body(JSON_LIMIT_BYTES)
        self._end_exchange()
        return reply

    async def begin(self, method: str, target: str, *, headers: Headers, length: int) -> None:
        """Send a request's head; ``length`` bytes of body must follow."""
        event = h11.Request(
            method=method,
            target=target,
            headers=[("Host", "guest"), ("Content-Length", str(length)), *headers],
        )
        await self._send(self._http.send(event) or b"")

    async def send_body(self, data: bytes) -> None:
        await self._send(self._http.send(h11.Data(data=data)) or b"")

    async def end_body(self) -> None:
        await self._send(self._http.send(h11.EndOfMessage()) or b"")

    async def finish(self) -> dict[str, str]:
        """After a body was sent: the reply's headers, its body skipped."""
        headers = await self._response()
        await self._body(JSON_LIMIT_BYTES)
        self._end_exchange()
        return headers

    async def download(self, target: str) -> tuple[dict[str, str], AsyncGenerator[bytes, None]]:
        """GET with a body of any size. Read the iterator to its end, then `end_download`."""
        await self.begin("GET", target, headers=(), length=0)
        await self.end_body()
        headers = await self._response()
        return headers, self._chunks()

    def end_download(self) -> None:
        self._end_exchange()

    async def upgrade(self, target: str, protocol: str, body: bytes) -> bytes:
        """Switch protocols; returns the bytes that came right behind the reply.

        From then on use `exchange`, and `restart` when the other protocol has ended.
        """
        await self.begin(
            "POST",
            target,
            headers=[("Connection", "Upgrade"), ("Upgrade", protocol)],
            length=len(body),
        )
        await self.send_body(body)
        await self.end_body()
        await self._response()
        if self._http.our_state is not h11.SWITCHED_PROTOCOL:
            raise GuestError("the guest agent did not switch to the exec protocol")
        return self._http.trailing_data[0]

    @property
    def idle(self) -> bool:
        """Between two requests: the connection can be used again."""
        return self._http.our_state is h11.IDLE and self._http.their_state is h11.IDLE

    async def send_raw(self, data: bytes) -> None:
        """Send bytes of the other protocol, after `upgrade`. Raises `ConnectionLost`."""
        await self._send(data)

    async def receive_raw(self) -> bytes:
        """Receive bytes of the other protocol, at least one. Raises `ConnectionLost`.

        Waits for ever: a command may have nothing to say for hours.
        """
        return await self._receive_some()

    def restart(self) -> None:
        """Back to HTTP after the upgraded protocol has ended on both sides."""
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_LIMIT_BYTES)

    async def _response(self) -> dict[str, str]:
        event = await self._next_event()
        if isinstance(event, h11.InformationalResponse) and event.status_code == 101:
            return {}
        if not isinstance(event, h11.Response):
            raise GuestError(f"the guest agent broke HTTP: {type(event).__name__}")
        headers = {name.decode(): value.decode("latin-1") for name, value in event.headers}
        if event.status_code >= 400:
            error = _failure(event.status_code, await self._body(JSON_LIMIT_BYTES))
            if event.status_code not in _DISTRUSTED:
                self._end_exchange()
            raise error
        return headers

    def _end_exchange(self) -> None:
        """Ready for another request; not `idle`, if the agent will have no other."""
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()

    async def _body(self, limit: int) -> bytes:
        parts = bytearray()
        async with aclosing(self._chunks()) as chunks:
            async for chunk in chunks:
                parts += chunk
                if len(parts) > limit:
                    raise GuestError(f"the guest agent's reply is over {limit} bytes")
        return bytes(parts)

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        while not isinstance(event := await self._next_event(), h11.EndOfMessage):
            if not isinstance(event, h11.Data):
                raise GuestError(f"the guest agent broke HTTP: {type(event).__name__}")
            yield bytes(event.data)

    async def _next_event(self) -> h11.Event:
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as error:
                raise GuestError(f"the guest agent broke HTTP: {error}") from None
            if event is h11.PAUSED:
                raise GuestError("the guest agent answered before it was asked")
            if event is not h11.NEED_DATA:
                assert not isinstance(event, type)
                return event
            self._http.receive_data(await self._receive())

    async def _receive(self) -> bytes:
        """Like `_receive_some`, for an agent that has been asked something."""
        with self.patience.limit(self._answer_s):
            return await self._receive_some()
        raise silent(self._answer_s)

    async def _receive_some(self) -> bytes:
        try:
            data = await self._stream.receive_some(RECEIVE_BYTES)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            data = b""
        if not data:
            raise ConnectionLost("the connection to the guest agent was lost")
        return bytes(data)

    async def _send(self, data: bytes) -> None:
        try:
            with self.patience.limit(ANSWER_DEADLINE_S) as deadline:
                await self._stream.send_all(data)
            if deadline.cancelled_caught:
                raise silent()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise ConnectionLost("the connection to the guest agent was lost") from None


def silent(seconds: float = ANSWER_DEADLINE_S) -> ConnectionLost:
    """For an agent that says nothing."""
    return ConnectionLost(
        f"the guest's agent does not answer for {seconds:.0f} s",
        hint="the guest may hang, or its agent was ended; a restart of the VM brings it back",
    )


class _Stale:
    """What comes on a port in an unknown state, until the reply that was asked for."""

    def __init__(self) -> None:
        self._seen = b""
        self._skipped = 0

    def add(self, data: bytes) -> None:
        # What is cut off can't be the start of the reply's head.
        self._skipped += max(0, len(self._seen) - HEAD_LIMIT_BYTES)
        self._seen = self._seen[-HEAD_LIMIT_BYTES:] + data
        if self._skipped > STALE_LIMIT_BYTES:
            raise GuestError("the guest agent does not come to an answer on this port")

    def reply_to(self, nonce: str) -> bytes | None:
        """What has come from the head of the reply with this id on; None: nothing of it."""
        at = self._seen.find(nonce.encode())
        if at < 0:
            return None
        start = self._seen.rfind(b"HTTP/1.1 ", 0, at)
        if start < 0:
            raise GuestError("the guest agent's answer is no HTTP")
        return self._seen[start:]


def _failure(status: int, body: bytes) -> BangerError:
    try:
        reply = msgspec.json.decode(body, type=_ErrorBody)
    except BAD_BYTES:
        reply = _ErrorBody(f"status {status}")
    message = printable(reply.error)
    if status == 404:
        return NotFound(message)
    if status in (400, 409, 413):
        return UsageError(message)
    error = AgentFailure(message)
    error.status, error.errno = status, reply.errno
    return error
