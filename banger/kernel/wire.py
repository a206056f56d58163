"""Frames and messages of the daemon's socket, free of any I/O.

A frame is a 4-byte big-endian length and that many bytes of msgpack: one tagged message.
A connection carries many calls at once, told apart by ``id`` (chosen by the client, unique
among its calls in flight).

======================  ==================================================================
client → server         meaning
======================  ==================================================================
``call``                begin call ``id`` with a request
``feed``                one input item of a call that takes a stream (exec's stdin …)
``cancel``              the client has lost interest; the call ends with ``failed``
======================  ==================================================================

======================  ==================================================================
server → client         meaning
======================  ==================================================================
``hello``               first frame on every connection
``item``                one item of the call's output stream (progress, event, output)
``credit``              this many bytes of ``feed`` have been consumed
``done`` / ``failed``   the call's end: its result, or its error
======================  ==================================================================

Unconsumed ``feed`` items of a call may add up to `FEED_WINDOW_BYTES`, encoded; a client that
sends more breaks the protocol and is disconnected.
"""

from __future__ import annotations

import struct

import msgspec

from banger.kernel.errors import ErrorReply, ProtocolError

PROTOCOL = 1
FRAME_LIMIT_BYTES = 1 << 20
FEED_WINDOW_BYTES = 256 << 10
BAD_BYTES = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What msgspec's decoders raise: the last two for text that isn't UTF-8 and for deep nesting."""
_LENGTH = struct.Struct(">I")


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="m"):
    pass


class Call(Message, frozen=True, tag="call"):
    id: int
    request: msgspec.Raw


class Feed(Message, frozen=True, tag="feed"):
    id: int
    item: msgspec.Raw


class Cancel(Message, frozen=True, tag="cancel"):
    id: int


class Hello(Message, frozen=True, tag="hello"):
    protocol: int
    version: str
    pid: int


class Item(Message, frozen=True, tag="item"):
    id: int
    item: msgspec.Raw


class Credit(Message, frozen=True, tag="credit"):
    id: int
    count: int


class Done(Message, frozen=True, tag="done"):
    id: int
    result: msgspec.Raw


class Failed(Message, frozen=True, tag="failed"):
    id: int
    error: ErrorReply


ClientMessage = Call | Feed | Cancel
ServerMessage = Hello | Item | Credit | Done | Failed

_encoder = msgspec.msgpack.Encoder()
client_decoder = msgspec.msgpack.Decoder(ClientMessage)
server_decoder = msgspec.msgpack.Decoder(ServerMessage)


def raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(_encoder.encode(value))


def frame(message: Message) -> bytes:
    """The message as a frame. Raises `ProtocolError` when it is larger than the cap."""
    body = _encoder.encode(message)
    if len(body) > FRAME_LIMIT_BYTES:
        raise ProtocolError(
            f"a message of {len(body)} bytes is over the limit of {FRAME_LIMIT_BYTES}"
        )
    return _LENGTH.pack(len(body)) + body


class Unframer:
    """Bytes in, bodies of whole frames out."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Add received bytes; return the frames completed by them.

        Raises `ProtocolError` as soon as a length over the cap is seen.
        """
        self._buffer += data
        bodies: list[bytes] = []
        at = 0
        while len(self._buffer) - at >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer, at)
            if length > FRAME_LIMIT_BYTES:
                raise ProtocolError(
                    f"a frame of {length} bytes is over the limit of {FRAME_LIMIT_BYTES}"
                )
            end = at + _LENGTH.size + length
            if len(self._buffer) < end:
                break
            bodies.append(bytes(self._buffer[at + _LENGTH.size : end]))
            at = end
        del self._buffer[:at]
        return bodies
