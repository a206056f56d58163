"""Netlink, as much of it as is needed to ask the kernel something (netlink(7))."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator

CHUNK_BYTES = 1 << 16

_ANSWER_S = 5.0
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_REQUEST, _ACK, _DUMP = 0x1, 0x4, 0x300
_ATTRIBUTE_TYPE = 0x3FFF


def connect(protocol: int, *, groups: int = 0) -> socket.socket:
    """Raises OSError, also when the kernel takes more than 5 s to answer."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    try:
        sock.settimeout(_ANSWER_S)
        sock.bind((0, groups))
    except OSError:
        sock.close()
        raise
    return sock


def dump(sock: socket.socket, kind: int, body: bytes) -> Iterator[bytes]:
    """The bodies of all messages that the answer to a request has. Raises OSError."""
    _send(sock, kind, _REQUEST | _DUMP, body)
    yield from _answers(sock)


def tell(sock: socket.socket, kind: int, body: bytes) -> None:
    """A request that is only confirmed. Raises OSError."""
    _send(sock, kind, _REQUEST | _ACK, body)
    for _ in _answers(sock):
        pass


def attribute(kind: int, value: bytes) -> bytes:
    header = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind)
    return header + value + bytes(aligned(len(value)) - len(value))


def split_attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        yield kind & _ATTRIBUTE_TYPE, data[_ATTRIBUTE.size : length]
        data = data[aligned(max(length, _ATTRIBUTE.size)) :]


def aligned(length: int) -> int:
    return (length + 3) & ~3


def _send(sock: socket.socket, kind: int, flags: int, body: bytes) -> None:
    sock.send(_HEADER.pack(_HEADER.size + len(body), kind, flags, 1, 0) + body)


def _answers(sock: socket.socket) -> Iterator[bytes]:
    while True:
        data = memoryview(sock.recv(CHUNK_BYTES))
        while len(data) >= _HEADER.size:
            length, kind, _, _, _ = _HEADER.unpack_from(data)
            body = bytes(data[_HEADER.size : length])
            if kind == _NLMSG_DONE:
                return
            if kind == _NLMSG_ERROR:
                (code,) = struct.unpack_from("=i", body)
                if code:
                    raise OSError(-code, os.strerror(-code))
                return
            yield body
            data = data[aligned(max(length, _HEADER.size)) :]
