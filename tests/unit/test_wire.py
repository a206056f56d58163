"""Frames: however the bytes arrive, and whatever they are."""

from __future__ import annotations

import random
import struct

import msgspec
import pytest

from banger.kernel import wire
from banger.kernel.errors import ErrorReply, ProtocolError

CLIENT_MESSAGES: list[wire.ClientMessage] = [
    wire.Call(1, wire.raw({"type": "vm.show", "name": "web-1"})),
    wire.Feed(2**63, wire.raw(b"\0" * 300)),
    wire.Cancel(0),
]
SERVER_MESSAGES: list[wire.ServerMessage] = [
    wire.Hello(wire.PROTOCOL, "1.2", 99),
    wire.Item(1, wire.raw([1, 2.5, None])),
    wire.Credit(1, 4096),
    wire.Done(1, wire.raw(None)),
    wire.Failed(1, ErrorReply("NotFound", "no VM 'x'", "look", 3)),
]


def test_messages_survive_the_wire() -> None:
    for sent in CLIENT_MESSAGES:
        (body,) = wire.Unframer().feed(wire.frame(sent))
        assert wire.client_decoder.decode(body) == sent
    for answer in SERVER_MESSAGES:
        (body,) = wire.Unframer().feed(wire.frame(answer))
        assert wire.server_decoder.decode(body) == answer


def test_client_and_server_messages_are_not_mixed_up() -> None:
    for answer in SERVER_MESSAGES:
        with pytest.raises(msgspec.ValidationError):
            wire.client_decoder.decode(wire.frame(answer)[4:])


def test_frame_layout() -> None:
    assert wire.frame(wire.Cancel(7)) == b"\0\0\0\x0e" + b"\x82\xa1m\xa6cancel\xa2id\x07"


@pytest.mark.parametrize("seed", range(20))
def test_any_split_gives_the_same_frames(seed: int) -> None:
    chance = random.Random(seed)
    bodies = [chance.randbytes(chance.choice([0, 1, 5, 300, 70_000])) for _ in range(30)]
    data = b"".join(struct.pack(">I", len(body)) + body for body in bodies)
    unframer = wire.Unframer()
    received: list[bytes] = []
    at = 0
    while at < len(data):
        size = chance.choice([1, 2, 3, 4, 5, 1000, 65536])
        received += unframer.feed(data[at : at + size])
        at += size
    assert received == bodies
    assert unframer.feed(b"") == []


def test_byte_by_byte() -> None:
    data = b"".join(wire.frame(message) for message in CLIENT_MESSAGES)
    unframer = wire.Unframer()
    bodies = [body for byte in data for body in unframer.feed(bytes([byte]))]
    assert [wire.client_decoder.decode(body) for body in bodies] == CLIENT_MESSAGES


def test_length_over_the_cap_is_refused_before_its_body_comes() -> None:
    for length in (wire.FRAME_LIMIT_BYTES + 1, 2**32 - 1):
        with pytest.raises(ProtocolError, match=str(length)):
            wire.Unframer().feed(struct.pack(">I", length))
    limit = struct.pack(">I", wire.FRAME_LIMIT_BYTES)
    assert wire.Unframer().feed(limit) == []
    assert wire.Unframer().feed(limit + bytes(wire.FRAME_LIMIT_BYTES)) == [
        bytes(wire.FRAME_LIMIT_BYTES)
    ]


def test_message_over_the_cap_is_not_framed() -> None:
    overhead = len(wire.frame(wire.Done(1, wire.raw(bytes(1 << 19))))) - 4 - (1 << 19)
    largest = wire.Done(1, wire.raw(bytes(wire.FRAME_LIMIT_BYTES - overhead)))
    assert len(wire.frame(largest)) == 4 + wire.FRAME_LIMIT_BYTES
    with pytest.raises(ProtocolError, match="over the limit"):
        wire.frame(wire.Done(1, wire.raw(bytes(wire.FRAME_LIMIT_BYTES - overhead + 1))))


def test_hostile_bodies_raise_nothing_but_what_is_declared() -> None:
    nested = b"\x83\xa1m\xa4call\xa2id\x01\xa7request" + b"\x91" * 100_000
    not_text = b"\x82\xa1m\xa6canc\xff\xfe\xa2id\x07"
    for body in (b"", nested, not_text):
        with pytest.raises(wire.BAD_BYTES):
            wire.client_decoder.decode(body)


@pytest.mark.parametrize("seed", range(4))
def test_damaged_messages_raise_nothing_but_what_is_declared(seed: int) -> None:
    chance = random.Random(seed)
    whole = [wire.frame(message)[4:] for message in CLIENT_MESSAGES]
    refused = 0
    for _ in range(5000):
        body = bytearray(chance.choice(whole))
        for _ in range(chance.randrange(1, 5)):
            body[chance.randrange(len(body))] = chance.randrange(256)
        if chance.random() < 0.2:
            del body[chance.randrange(len(body)) :]
        try:
            wire.client_decoder.decode(body)
        except wire.BAD_BYTES:
            refused += 1
    assert refused > 1000


@pytest.mark.parametrize("seed", range(4))
def test_random_streams_never_buffer_more_than_a_frame(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(200):
        unframer = wire.Unframer()
        total = 0
        try:
            for _ in range(50):
                data = chance.randbytes(chance.randrange(1, 200))
                total += len(data) - sum(4 + len(body) for body in unframer.feed(data))
        except ProtocolError:
            continue
        assert total <= 4 + wire.FRAME_LIMIT_BYTES
