"""A guest agent for tests, verified against the real one, and streams that say anything."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import struct
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, urlsplit

import trio
from trio.testing import memory_stream_pair

from banger.guest.link import AgentLink

SOURCE = Path(__file__).resolve().parents[2] / "guest-agent"
USER = str(os.geteuid())

STDIN, STDIN_EOF, RESIZE, SIGNAL = 0x01, 0x02, 0x03, 0x04
STDOUT, STDERR, STDIN_CREDIT, EXIT = 0x11, 0x12, 0x13, 0x14

_request_id = re.compile(rb"X-Request-Id: ([0-9a-f]+)", re.IGNORECASE)

Serve = Callable[[trio.abc.Stream], Awaitable[None]]


def frame(kind: int, payload: bytes = b"") -> bytes:
    return struct.pack(">BI", kind, len(payload)) + payload


def exit_frame(code: int = 0, signal: int = 0, timed_out: bool = False) -> bytes:
    report = {"code": code, "signal": signal, "timed_out": timed_out}
    return frame(EXIT, json.dumps(report).encode())


def reply(status: int = 200, body: bytes = b"{}", **headers: str) -> bytes:
    """An HTTP reply; header names are written with ``_`` for ``-``."""
    lines = [f"HTTP/1.1 {status} Whatever"]
    headers.setdefault("Content_Length", str(len(body)))
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


SWITCHING = b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: banger-exec\r\n\r\n"
NO_SUCH_FILE = reply(404, b'{"error":"no such file","errno":2}')


class Canned(trio.abc.Stream):
    """Sends what was prepared, whatever it is asked, then its end.

    ``{id}`` in a piece becomes the id of the latest request.
    """

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._rest = b""
        self.sent = bytearray()
        self.taken = 0
        """How many bytes were received of it."""
        self.closed = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        self.sent += data

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        if not self._rest:
            piece = next(self._pieces, b"")
            if b"{id}" in piece:
                asked = _request_id.findall(self.sent)
                piece = piece.replace(b"{id}", asked[-1] if asked else b"")
            self._rest = piece
        data, self._rest = self._rest[:max_bytes], self._rest[max_bytes or len(self._rest) :]
        self.taken += len(data)
        return data

    async def aclose(self) -> None:
        self.closed = True
        await trio.lowlevel.checkpoint()


STATS: dict[str, Any] = {
    **{"uptime_ms": 61_000, "load": [0.5, 0.25, 0.0], "processes": 54},
    "memory": {
        **{"total_bytes": 256 << 20, "available_bytes": 192 << 20},
        **{"swap_total_bytes": 0, "swap_free_bytes": 0},
    },
    "disks": [
        {"path": "/", "size_bytes": 4 << 30, "used_bytes": 1 << 30, "available_bytes": 3 << 30}
    ],
}


class FakeAgent:
    """Speaks the protocol. Its guest has files, and the commands below."""

    def __init__(self) -> None:
        self.files: dict[str, tuple[int, bytes]] = {}
        self.directories: dict[str, int] = {"/": 0o755}
        self.requests: list[str] = []
        """Method and path of every request, in order."""
        self.sessions = 0

    async def serve(self, stream: trio.abc.Stream) -> None:
        """Until the client has gone."""
        wire = _Wire(stream)
        try:
            while True:
                head = await wire.head()
                await self._answer(wire, *head)
        except (EOFError, trio.BrokenResourceError):
            pass

    async def _answer(self, wire: _Wire, method: str, target: str, headers: dict[str, str]) -> None:
        url = urlsplit(target)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        self.requests.append(f"{method} {url.path}")
        body = await wire.take(int(headers.get("content-length", "0")))
        echo = {"X_Request_Id": headers["x-request-id"]} if "x-request-id" in headers else {}
        match method, url.path:
            case "GET", "/healthz":
                await wire.send(reply(200, self._health(), **echo))
            case "GET", "/v1/stats":
                await wire.send(reply(200, json.dumps(STATS).encode()))
            case "POST", "/v1/exec":
                await self._exec(wire, json.loads(body))
            case "PUT", "/v1/files":
                self.files[query["path"]] = (int(query["mode"], 8), body)
                await wire.send(reply(201))
            case "GET", "/v1/files" if query["path"] in self.files:
                mode, content = self.files[query["path"]]
                await wire.send(reply(200, content, X_Mode=f"{mode:04o}"))
            case "PUT", "/v1/directory":
                self.directories[query["path"]] = int(query["mode"], 8)
                await wire.send(reply(201))
            case "GET", "/v1/directory" if query["path"] in self.directories:
                await wire.send(reply(200, self._listing(query["path"])))
            case "GET", "/v1/files" | "/v1/directory":
                other = query["path"] in self.files.keys() | self.directories.keys()
                await wire.send(reply(409, b'{"error":"wrong type"}') if other else NO_SUCH_FILE)
            case "PUT", "/v1/clock":
                await wire.send(reply(204, b""))
            case _:
                await wire.send(reply(404))

    def _health(self) -> bytes:
        health = {
            **{"status": "ok", "version": "0", "protocol": 1, "stage": "system"},
            **{"hostname": "fake", "boot_id": "0", "uptime_ms": 1, "init": "other"},
            **{"sessions": self.sessions, "ssh": False},
        }
        return json.dumps(health).encode()

    def _listing(self, path: str) -> bytes:
        kinds = [(name, "file", mode, len(data)) for name, (mode, data) in self.files.items()]
        kinds += [(name, "directory", mode, 4096) for name, mode in self.directories.items()]
        entries = [
            {"name": PurePosixPath(name).name, "type": kind, "mode": mode, "size": size}
            for name, kind, mode, size in kinds
            if str(PurePosixPath(name).parent) == path and name != path
        ]
        return json.dumps({"entries": entries}).encode()

    async def _exec(self, wire: _Wire, request: dict[str, object]) -> None:
        argv = request["argv"]
        assert isinstance(argv, list)
        if argv[0] not in ("echo", "cat", "true", "false", "sleep"):
            await wire.send(reply(422, b'{"error":"can\'t execute it: not found","errno":2}'))
            return
        await wire.send(SWITCHING)
        self.sessions += 1
        try:
            match argv[0]:
                case "echo":
                    await wire.send(frame(STDOUT, " ".join(argv[1:]).encode() + b"\n"))
                    await wire.send(exit_frame())
                case "true":
                    await wire.send(exit_frame())
                case "false":
                    await wire.send(exit_frame(1))
                case "cat" | "sleep":
                    await self._until_ended(wire, reading=argv[0] == "cat")
        finally:
            self.sessions -= 1

    async def _until_ended(self, wire: _Wire, *, reading: bool) -> None:
        while True:
            if not await wire.is_frame():
                return
            kind, payload = await wire.frame()
            if kind == SIGNAL:
                await wire.send(exit_frame(-1, payload[0]))
                return
            if reading and kind == STDIN:
                await wire.send(frame(STDOUT, payload))
                await wire.send(frame(STDIN_CREDIT, struct.pack(">I", len(payload))))
            if reading and kind == STDIN_EOF:
                await wire.send(exit_frame())
                return


class _Wire:
    """The agent's end of a connection. EOFError when the client has gone."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._buffer = bytearray()

    async def send(self, data: bytes) -> None:
        await self._stream.send_all(data)

    async def _more(self) -> None:
        data = await self._stream.receive_some(1 << 16)
        if not data:
            raise EOFError
        self._buffer += data

    async def take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            await self._more()
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    async def head(self) -> tuple[str, str, dict[str, str]]:
        """The next request's; frames that were under way after an exit are passed over."""
        while await self.is_frame():
            await self.frame()
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            await self._more()
        text = (await self.take(end + 4)).decode()
        # As the real agent does: a torn head before the request that resynchronises.
        text = text[max(0, text.find("GET /healthz HTTP/1.1")) :]
        first, *lines = text.split("\r\n")[:-2]
        method, target, _ = first.split(" ")
        pairs = (line.split(": ", 1) for line in lines)
        return method, target, {name.lower(): value for name, value in pairs}

    async def is_frame(self) -> bool:
        while not self._buffer:
            await self._more()
        return self._buffer[0] in (STDIN, STDIN_EOF, RESIZE, SIGNAL)

    async def frame(self) -> tuple[int, bytes]:
        kind, length = struct.unpack(">BI", await self.take(5))
        return kind, await self.take(length)


def fake_dial(nursery: trio.Nursery, serve: Serve) -> Callable[[int], Awaitable[trio.abc.Stream]]:
    """Each dialled channel is served by a task of its own."""

    async def dial(channel: int) -> trio.abc.Stream:
        ours, theirs = memory_stream_pair()
        nursery.start_soon(serve, theirs)
        return ours

    return dial


def build_agent() -> Path:
    subprocess.run(["make", "-s", "-C", str(SOURCE)], check=True)
    return SOURCE / "build" / "banger-agent"


@asynccontextmanager
async def agent_link(kind: str, channels: int = 3) -> AsyncIterator[AgentLink]:
    """A link to a ``fake`` agent, or to ``real`` agent processes, one a channel."""
    processes: list[subprocess.Popen[bytes]] = []
    binary = build_agent() if kind == "real" else Path()

    async def dial_process(channel: int) -> trio.abc.Stream:
        ours, theirs = socket.socketpair()
        with theirs:
            argv = [str(binary), "--fd", str(theirs.fileno())]
            processes.append(
                subprocess.Popen(argv, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
            )
        return trio.SocketStream(trio.socket.from_stdlib_socket(ours))

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            fake = fake_dial(nursery, FakeAgent().serve)
            link = AgentLink(dial_process if kind == "real" else fake, channels)
            try:
                yield link
            finally:
                with trio.CancelScope(shield=True):
                    await link.reset()
                    for process in processes:
                        process.send_signal(signal.SIGKILL)
                        process.wait()
                nursery.cancel_scope.cancel()
