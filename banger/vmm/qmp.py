"""QMP, QEMU's control protocol: JSON objects, one a line, over a UNIX socket.

Source: QEMU's documentation, "QEMU Machine Protocol Specification".
"""

from __future__ import annotations

import itertools
import socket
import struct
from typing import Any

import msgspec
import trio

from banger.kernel.errors import ConnectionLost, VmmError
from banger.kernel.wire import BAD_BYTES

LINE_LIMIT_BYTES = 1 << 20
RECEIVE_BYTES = 64 << 10


class _Error(msgspec.Struct, frozen=True):
    desc: str


class _Line(msgspec.Struct, frozen=True):
    """Any line: greeting, reply or event, by which of the fields is there."""

    greeting: Any = msgspec.field(default=None, name="QMP")
    id: int | None = None
    result: Any = msgspec.field(default=msgspec.UNSET, name="return")
    error: _Error | None = None
    event: str | None = None


class QmpClient:
    """``next_event`` is the reading side and must be running for `execute` to get replies."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._buffer = bytearray()
        self._ids = itertools.count(1)
        self._waiting: dict[int, trio.MemorySendChannel[_Line]] = {}
        self._send_lock = trio.Lock()
        self._ended = False

    async def negotiate(self) -> None:
        """Take the greeting and leave negotiation mode."""
        if (await self._line()).greeting is None:
            raise VmmError("QEMU's control socket did not greet")
        await self._send("qmp_capabilities", {}, 0, None)
        while (reply := await self._line()).event is not None:
            pass
        if reply.result is msgspec.UNSET:
            raise VmmError("QEMU's control socket refused the negotiation")

    async def next_event(self) -> str:
        """Hand out replies until an event comes; its name.

        Raises `ConnectionLost` at the end, and `VmmError` for what is not QMP; then no
        command gets a reply any more.
        """
        try:
            while True:
                line = await self._line()
                if line.event is not None:
                    return line.event
                waiting = self._waiting.pop(line.id or 0, None)
                if waiting is not None:
                    waiting.send_nowait(line)
        except (ConnectionLost, VmmError):
            self._end()
            raise

    async def pass_descriptor(self, name: str, fd: int) -> None:
        """Hand QEMU a copy of an open descriptor, to be used by name once."""
        await self._execute("getfd", {"fdname": name}, fd)

    async def add_descriptor(self, fd: int, fdset: int | None = None) -> int:
        """Put a copy of an open descriptor into a set, a new one by default; the set's number."""
        arguments: dict[str, object] = {} if fdset is None else {"fdset-id": fdset}
        found: int = (await self._execute("add-fd", arguments, fd))["fdset-id"]
        return found

    async def execute(self, command: str, **arguments: object) -> Any:
        """Run a command and return its result. Raises `VmmError` with QEMU's own words."""
        return await self._execute(command, arguments, None)

    async def _execute(self, command: str, arguments: dict[str, object], fd: int | None) -> Any:
        if self._ended:
            raise ConnectionLost("QEMU's control socket is closed")
        identifier = next(self._ids)
        send, receive = trio.open_memory_channel[_Line](1)
        self._waiting[identifier] = send
        try:
            await self._send(command, arguments, identifier, fd)
            line = await receive.receive()
        except trio.EndOfChannel:
            raise ConnectionLost(f"QEMU went away during {command}") from None
        finally:
            self._waiting.pop(identifier, None)
        if line.error is not None:
            raise VmmError(f"QEMU refused {command}: {line.error.desc}")
        return line.result

    async def aclose(self) -> None:
        self._end()
        await trio.aclose_forcefully(self._stream)

    def _end(self) -> None:
        self._ended = True
        for waiting in self._waiting.values():
            waiting.close()

    async def _send(
        self, command: str, arguments: dict[str, object], identifier: int, fd: int | None
    ) -> None:
        document = {"execute": command, "arguments": arguments, "id": identifier}
        data = msgspec.json.encode(document) + b"\n"
        async with self._send_lock:
            try:
                if fd is not None:
                    # The descriptor travels with the first byte of its command.
                    assert isinstance(self._stream, trio.SocketStream)
                    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", fd))
                    sent = await self._stream.socket.sendmsg([data], [rights])
                    data = data[sent:]
                await self._stream.send_all(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                raise ConnectionLost("QEMU's control socket is closed") from None

    async def _line(self) -> _Line:
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > LINE_LIMIT_BYTES:
                raise VmmError("QEMU sent a line without end")
            try:
                data = await self._stream.receive_some(RECEIVE_BYTES)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                data = b""
            if not data:
                raise ConnectionLost("QEMU's control socket is closed")
            self._buffer += data
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        try:
            return msgspec.json.decode(line, type=_Line)
        except BAD_BYTES as error:
            raise VmmError(f"QEMU sent what is not QMP: {error}") from None
