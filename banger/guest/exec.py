"""A command in the guest: the framed protocol that ``POST /v1/exec`` switches to."""

from __future__ import annotations

import errno
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Annotated

import msgspec
import trio

from banger.guest import agent
from banger.guest.connection import AgentConnection, AgentFailure
from banger.guest.link import AgentLink
from banger.kernel.errors import CommandNotFound, GuestError, NotExecutable
from banger.kernel.wire import BAD_BYTES
from banger.model.requests.exec import ErrorOutput, Exec, ExecResult, Output

PAYLOAD_LIMIT_BYTES = 64 << 10
SILENCE_S = 30.0
STDIN_WINDOW_BYTES = 256 << 10

_HEADER = struct.Struct(">BI")
_SIZE = struct.Struct(">HH")
_COUNT = struct.Struct(">I")

_STDIN, _STDIN_EOF, _RESIZE, _SIGNAL = 0x01, 0x02, 0x03, 0x04
_PROGRAM_AT_FAULT = "can't execute "
"""Begins the agent's message then; errors of the user or the directory begin otherwise."""
_START_ERRORS: dict[int, type[GuestError]] = {
    errno.ENOENT: CommandNotFound,
    errno.EACCES: NotExecutable,
    errno.ENOEXEC: NotExecutable,
}
_STDOUT, _STDERR, _STDIN_CREDIT, _EXIT = 0x11, 0x12, 0x13, 0x14


class _Exit(msgspec.Struct, frozen=True):
    """The agent's report; a newer agent may say more."""

    code: Annotated[int, msgspec.Meta(ge=-1, le=255)]
    signal: Annotated[int, msgspec.Meta(ge=0, le=64)]
    timed_out: bool


class ExecSession:
    """A running command. One task reads `outputs`; others may send meanwhile."""

    def __init__(
        self,
        connection: AgentConnection,
        received: bytes,
        *,
        look: Callable[[], Awaitable[object]] = trio.lowlevel.checkpoint,
    ) -> None:
        """``look`` is called after each `SILENCE_S` without a word: it raises when the agent
        is gone; a command that has nothing to say is none of its concern."""
        self._connection = connection
        self._look = look
        self._received = bytearray(received)
        self._window = STDIN_WINDOW_BYTES
        self._credit = trio.Event()
        self._send_lock = trio.Lock()
        self.torn = False
        """A frame was sent in part only: the agent takes what follows for its rest."""
        self.result: ExecResult | None = None

    async def outputs(self) -> AsyncGenerator[Output | ErrorOutput, None]:
        """What the command writes, until it has ended; then ``result`` is set."""
        while self.result is None:
            kind, payload = await self._next_frame()
            if kind == _STDOUT:
                yield Output(payload)
            elif kind == _STDERR:
                yield ErrorOutput(payload)
            elif kind == _STDIN_CREDIT and len(payload) == _COUNT.size:
                self._window += _COUNT.unpack(payload)[0]
                if self._window > STDIN_WINDOW_BYTES:
                    raise GuestError("the guest agent gave credit for more than was sent")
                self._credit.set()
                self._credit = trio.Event()
            elif kind == _EXIT:
                try:
                    found = msgspec.json.decode(payload, type=_Exit)
                except BAD_BYTES as error:
                    raise GuestError(f"the agent's exit report is not valid: {error}") from None
                self.result = ExecResult(found.code, found.signal, found.timed_out)
            else:
                raise GuestError(f"the guest agent sent an unknown frame, type {kind:#x}")
        if self._received:
            raise GuestError("the guest agent went on after the command's exit")

    async def send_input(self, data: bytes) -> None:
        """Write to the command's stdin; waits while the command is slow to read."""
        for start in range(0, len(data), PAYLOAD_LIMIT_BYTES):
            part = data[start : start + PAYLOAD_LIMIT_BYTES]
            while self._window < len(part):
                await self._credit.wait()
            self._window -= len(part)
            await self._send(_STDIN, part)

    async def end_input(self) -> None:
        await self._send(_STDIN_EOF)

    async def resize(self, rows: int, cols: int) -> None:
        await self._send(_RESIZE, _SIZE.pack(rows, cols))

    async def signal(self, number: int) -> None:
        await self._send(_SIGNAL, bytes([number]))

    async def _send(self, kind: int, payload: bytes = b"") -> None:
        async with self._send_lock:
            self.torn = True
            await self._connection.send_raw(_HEADER.pack(kind, len(payload)) + payload)
            self.torn = False

    async def _next_frame(self) -> tuple[int, bytes]:
        await self._fill(_HEADER.size)
        kind, length = _HEADER.unpack_from(self._received)
        if length > PAYLOAD_LIMIT_BYTES:
            raise GuestError(f"the guest agent sent a frame of {length} bytes")
        end = _HEADER.size + length
        await self._fill(end)
        payload = bytes(self._received[_HEADER.size : end])
        del self._received[:end]
        return kind, payload

    async def _fill(self, count: int) -> None:
        while len(self._received) < count:
            self._received += await self._listen()

    async def _listen(self) -> bytes:
        while True:
            with self._connection.patience.limit(SILENCE_S):
                return await self._connection.receive_raw()
            await self._look()


@asynccontextmanager
async def open_exec(link: AgentLink, request: Exec) -> AsyncIterator[ExecSession]:
    """Start the command. Leaving the block before its end kills it.

    Raises `CommandNotFound`, `NotExecutable`, or `AgentFailure` with the guest's errno when
    it can't be started.
    """
    body = {
        "argv": request.argv,
        "env": request.env,
        "user": request.user or "root",
        "tty": request.tty,
        "rows": request.rows,
        "cols": request.cols,
        "timeout_ms": int(request.timeout_s * 1000),
    }
    if request.cwd is not None:
        body["cwd"] = request.cwd
    async with link.session() as connection:
        try:
            received = await connection.upgrade(
                "/v1/exec", "banger-exec", msgspec.json.encode(body)
            )
        except AgentFailure as error:
            if error.message.startswith(_PROGRAM_AT_FAULT) and error.errno in _START_ERRORS:
                raise _START_ERRORS[error.errno](error.message) from None
            raise
        session = ExecSession(connection, received, look=lambda: agent.health(link))
        yield session
        if session.result is not None and not session.torn:
            connection.restart()


async def capture(
    link: AgentLink, request: Exec, *, limit_bytes: int
) -> tuple[ExecResult, bytes, bytes]:
    """Run a command with empty stdin to its end: how it ended, what it wrote, cut at the limit."""
    written = {Output: bytearray(), ErrorOutput: bytearray()}
    async with open_exec(link, request) as session:
        await session.end_input()
        async with aclosing(session.outputs()) as outputs:
            async for output in outputs:
                kept = written[type(output)]
                kept += output.data[: limit_bytes - len(kept)]
    assert session.result is not None
    return session.result, bytes(written[Output]), bytes(written[ErrorOutput])
