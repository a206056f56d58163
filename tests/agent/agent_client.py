"""A plain, blocking client of the agent's protocol (docs/agent-protocol.md), for tests.

It checks what it receives: a reply that breaks the protocol's rules raises ProtocolError.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import uuid
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import quote

STDIN, STDIN_EOF, RESIZE, SIGNAL = 0x01, 0x02, 0x03, 0x04
STDOUT, STDERR, STDIN_CREDIT, EXIT = 0x11, 0x12, 0x13, 0x14
FRAME_LIMIT = 65536
STDIN_WINDOW = 262144


class ProtocolError(Exception):
    """The agent sent something the protocol does not allow."""


@dataclass(frozen=True)
class Reply:
    """One HTTP reply; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass
class Finished:
    """What a command left: its output, and the payload of its exit frame."""

    stdout: bytes = b""
    stderr: bytes = b""
    code: int = 0
    signal: int = 0
    timed_out: bool = False
    credit: int = field(default=0, compare=False)


class AgentClient:
    """One connection to an agent. All methods block up to `timeout_s`, then raise TimeoutError."""

    def __init__(self, connection: socket.socket, timeout_s: float = 15.0) -> None:
        self.socket = connection
        self.socket.settimeout(timeout_s)
        self.buffer = b""
        self.window = STDIN_WINDOW
        self.finished = Finished()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Go away, whatever is under way."""
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send raw bytes."""
        self.socket.sendall(data)

    def need(self, size: int) -> None:
        """Receive until `size` bytes are buffered. EOFError when the agent hangs up."""
        while len(self.buffer) < size:
            data = self.socket.recv(65536)
            if not data:
                raise EOFError("the agent hung up")
            self.buffer += data

    def take(self, size: int) -> bytes:
        """Receive exactly `size` bytes."""
        self.need(size)
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def take_until(self, mark: bytes) -> bytes:
        """Receive up to and including `mark`."""
        while mark not in self.buffer:
            self.need(len(self.buffer) + 1)
        return self.take(self.buffer.index(mark) + len(mark))

    def reply(self) -> Reply:
        """Receive one HTTP reply."""
        lines = self.take_until(b"\r\n\r\n").decode().split("\r\n")
        version, status, _reason = lines[0].split(" ", 2)
        if version != "HTTP/1.1":
            raise ProtocolError(f"not a status line: {lines[0]!r}")
        headers = {}
        for line in lines[1:-2]:
            name, value = line.split(":", 1)
            headers[name.lower()] = value.strip()
        return Reply(int(status), headers, self.take(int(headers.get("content-length", "0"))))

    def request(
        self,
        method: str,
        target: str,
        body: bytes | dict[str, Any] | None = None,
        **headers: str,
    ) -> Reply:
        """Send a request (headers: `X_Request_Id="…"`) and receive its reply."""
        content = json.dumps(body).encode() if isinstance(body, dict) else body
        lines = [f"{method} {target} HTTP/1.1", "Host: agent"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        if content is not None:
            lines.append(f"Content-Length: {len(content)}")
        self.send("\r\n".join([*lines, "", ""]).encode() + (content or b""))
        return self.reply()

    def resync(self) -> Reply:
        """Find the way back from an unknown state, as the protocol says."""
        wanted = uuid.uuid4().hex
        self.send(f"GET /healthz HTTP/1.1\r\nX-Request-Id: {wanted}\r\n\r\n".encode())
        mark = f"X-Request-Id: {wanted}\r\n".encode()
        while mark not in self.buffer:
            self.need(len(self.buffer) + 1)
        self.buffer = self.buffer[self.buffer.rindex(b"HTTP/1.1 ", 0, self.buffer.index(mark)) :]
        return self.reply()

    def start(self, *argv: str, **fields: Any) -> Reply:
        """POST /v1/exec, as whoever runs the tests; after a 101 the connection carries frames."""
        self.window, self.finished = STDIN_WINDOW, Finished()
        if os.geteuid() != 0:
            fields.setdefault("user", str(os.geteuid()))
        body = {"argv": list(argv), **fields}
        return self.request("POST", "/v1/exec", body, Connection="Upgrade", Upgrade="banger-exec")

    def send_frame(self, kind: int, payload: bytes = b"") -> None:
        """Send one frame; input counts against the window, but isn't held back by it."""
        if kind == STDIN:
            self.window -= len(payload)
        self.send(struct.pack(">BI", kind, len(payload)) + payload)

    def frame(self) -> tuple[int, bytes]:
        """Receive one frame and note what it says."""
        kind, length = struct.unpack(">BI", self.take(5))
        if kind not in (STDOUT, STDERR, STDIN_CREDIT, EXIT) or length > FRAME_LIMIT:
            raise ProtocolError(f"frame of type {kind:#x}, {length} bytes")
        payload = self.take(length)
        if kind == STDOUT:
            self.finished.stdout += payload
        elif kind == STDERR:
            self.finished.stderr += payload
        elif kind == STDIN_CREDIT:
            (credit,) = struct.unpack(">I", payload)
            self.window += credit
            self.finished.credit += credit
            if self.window > STDIN_WINDOW:
                raise ProtocolError(f"more credit than was sent: {self.window}")
        else:
            end = json.loads(payload)
            self.finished.code = end["code"]
            self.finished.signal = end["signal"]
            self.finished.timed_out = end["timed_out"]
        return kind, payload

    def write_stdin(self, data: bytes) -> None:
        """Send input within the window, receiving frames while it is closed."""
        while data:
            while not self.window:
                if self.frame()[0] == EXIT:
                    raise EOFError("the command ended")
            size = min(len(data), self.window, FRAME_LIMIT)
            self.send_frame(STDIN, data[:size])
            data = data[size:]

    def until_output(self, text: bytes) -> None:
        """Receive frames until stdout holds `text`."""
        while text not in self.finished.stdout:
            if self.frame()[0] == EXIT:
                raise EOFError(f"the command ended: {self.finished}")

    def finish(self) -> Finished:
        """Receive frames up to the exit frame."""
        while self.frame()[0] != EXIT:
            pass
        return self.finished

    def run(self, *argv: str, stdin: bytes = b"", **fields: Any) -> Finished:
        """Run a command to its end; AssertionError when it can't be started."""
        reply = self.start(*argv, **fields)
        assert reply.status == 101, reply
        self.write_stdin(stdin)
        self.send_frame(STDIN_EOF)
        return self.finish()


def file_target(path: str, **parameters: str) -> str:
    """The request target of a file, percent-encoded."""
    return target("/v1/files", path, **parameters)


def target(base: str, path: str, **parameters: str) -> str:
    """A request target with `path` and other query parameters, percent-encoded."""
    query = {"path": path, **parameters}
    return base + "?" + "&".join(f"{k}={quote(v, safe='/')}" for k, v in query.items())
