"""A daemon for tests of the client: a thread behind a real UNIX socket, with one guest's files."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from banger.kernel import wire
from banger.kernel.errors import BangerError, ErrorReply, NotFound, UsageError
from banger.model.requests.any import AnyRequest
from banger.model.requests.exec import AnyFeed, Input, Output
from banger.model.requests.files import (
    DirectoryEntry,
    FileInfo,
    ListDirectory,
    Listing,
    MakeDirectory,
    ReadFile,
    WriteFile,
)

Answer = Callable[[Any], Iterator[object]]
"""Of a request: the items of its stream, then its result."""


class GuestFiles:
    """Answers the requests about files."""

    def __init__(self) -> None:
        self.files: dict[str, tuple[int, bytes]] = {}
        self.directories: dict[str, int] = {"/": 0o755}
        self.listings: dict[str, list[DirectoryEntry]] = {}
        """What is said of a directory instead of the truth."""
        self.written: dict[str, WriteFile] = {}

    def answer(self, request: Any) -> Iterator[object]:
        match request:
            case ListDirectory(_, path):
                yield Listing(self.listings.get(path) or self._listing(path))
                yield None
            case ReadFile(_, path):
                if path not in self.files:
                    raise NotFound(f"{path}: no such file")
                mode, data = self.files[path]
                for at in range(0, len(data), 50_000):
                    yield Output(data[at : at + 50_000])
                yield FileInfo("file", mode, len(data))
            case MakeDirectory(_, path, mode):
                self.directories[path] = mode
                yield None
            case _:
                raise UsageError(f"not answered here: {request}")

    def write(self, request: WriteFile, data: bytes) -> None:
        self.files[request.path] = (request.mode, data)
        self.written[request.path] = request

    def _listing(self, path: str) -> list[DirectoryEntry]:
        if path in self.files:
            raise UsageError(f"{path} is no directory")
        if path not in self.directories:
            raise NotFound(f"{path}: no such directory")
        infos = {
            name: FileInfo("file", mode, len(data)) for name, (mode, data) in self.files.items()
        }
        infos |= {name: FileInfo("directory", mode, 0) for name, mode in self.directories.items()}
        return [
            DirectoryEntry(PurePosixPath(name).name, info)
            for name, info in infos.items()
            if name != path and str(PurePosixPath(name).parent) == path
        ]


class FakeDaemon:
    def __init__(self, path: Path, answer: Answer, write: Callable[[WriteFile, bytes], None]):
        self.requests: list[Any] = []
        self.connections = 0
        self._clients: list[tuple[socket.socket, threading.Thread]] = []
        self.hello = wire.Hello(wire.PROTOCOL, "test", 1)
        self._answer = answer
        self._write = write
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        """Hang up, on a client that is still there too."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        for client, thread in self._clients:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
            thread.join()

    def _serve(self) -> None:
        """A thread for each client, until closed."""
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            thread = threading.Thread(target=self._greet, args=(client,))
            self._clients.append((client, thread))
            thread.start()

    def _greet(self, client: socket.socket) -> None:
        # A client may leave in the middle of an answer.
        with client, contextlib.suppress(ConnectionError):
            client.sendall(wire.frame(self.hello))
            self._converse(client)

    def _converse(self, client: socket.socket) -> None:
        unframer = wire.Unframer()
        uploads: dict[int, tuple[WriteFile, bytearray]] = {}
        while data := client.recv(1 << 16):
            for body in unframer.feed(data):
                match wire.client_decoder.decode(body):
                    case wire.Call(call_id, raw):
                        request = msgspec.msgpack.decode(raw, type=AnyRequest)
                        self.requests.append(request)
                        if isinstance(request, WriteFile):
                            uploads[call_id] = (request, bytearray())
                            self._finish_upload(client, call_id, uploads)
                        else:
                            self._reply(client, call_id, request)
                    case wire.Feed(call_id, raw):
                        item = msgspec.msgpack.decode(raw, type=AnyFeed)
                        if call_id in uploads and isinstance(item, Input):
                            uploads[call_id][1].extend(item.data)
                            client.sendall(wire.frame(wire.Credit(call_id, len(bytes(raw)))))
                            self._finish_upload(client, call_id, uploads)

    def _finish_upload(
        self,
        client: socket.socket,
        call_id: int,
        uploads: dict[int, tuple[WriteFile, bytearray]],
    ) -> None:
        request, content = uploads[call_id]
        if len(content) == request.size:
            self._write(request, bytes(content))
            client.sendall(wire.frame(wire.Done(call_id, wire.raw(None))))

    def _reply(self, client: socket.socket, call_id: int, request: Any) -> None:
        last: object = None
        try:
            for number, item in enumerate(self._answer(request)):
                if number:
                    client.sendall(wire.frame(wire.Item(call_id, wire.raw(last))))
                last = item
        except BangerError as error:
            client.sendall(wire.frame(wire.Failed(call_id, ErrorReply.of(error))))
        else:
            client.sendall(wire.frame(wire.Done(call_id, wire.raw(last))))


@contextmanager
def serving(path: Path, answer: Answer, guest: GuestFiles | None = None) -> Iterator[FakeDaemon]:
    path.parent.mkdir(parents=True, exist_ok=True)
    daemon = FakeDaemon(path, answer, (guest or GuestFiles()).write)
    try:
        yield daemon
    finally:
        daemon.close()
