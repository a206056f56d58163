"""What a resolver sends, read; the cache and its bounds."""

from __future__ import annotations

import struct

import pytest
from dns_fakes import make_query

from banger_dns import Cache
from banger_dns.answers import Answer, Question
from banger_dns.errors import Malformed
from banger_dns.replies import read_reply


def question(number: int) -> Question:
    return Question((b"%d" % number, b"org"), 1)


def test_least_recently_used_goes_first() -> None:
    cache = Cache(3, 1 << 20)
    for number in range(3):
        cache.put(question(number), Answer(0, 60))
    cache.get(question(0))
    cache.put(question(3), Answer(0, 60))
    assert [number for number in range(4) if cache.get(question(number))] == [0, 2, 3]


def test_bytes_are_bounded_and_counted() -> None:
    answer = Answer(0, 60, body=b"x" * 1000)
    cache = Cache(100, 5 * answer.size)
    for number in range(50):
        cache.put(question(number), answer)
        cache.put(question(number), answer)
    assert (len(cache), cache.size) == (5, 5 * answer.size)
    cache.put(question(99), Answer(0, 60, body=b"x" * 100_000))
    assert len(cache) == 5
    cache.clear()
    assert (len(cache), cache.size) == (0, 0)


def test_newer_answer_replaces() -> None:
    cache = Cache(10, 1 << 20)
    cache.put(question(1), Answer(0, 60))
    cache.put(question(1), Answer(3, 60))
    entry = cache.get(question(1))
    assert entry and entry[0].rcode == 3
    cache.put(question(1), Answer(0, 0))
    assert cache.get(question(1)) is None and cache.size == 0


ASKED = make_query("example.org").to_wire()
DATA = b"\0\1\0\1\0\0\0\x3c\0\4\xc0\0\2\7"
OPT = b"\0\0\x29\4\xd0\0\0\0\0\0\0"


def with_records(counts: tuple[int, int, int], records: bytes) -> bytes:
    return struct.pack(">HHHHHH", 7, 0x8180, 1, *counts) + ASKED[12:] + records


def test_sound_reply_is_read() -> None:
    records = b"\xc0\x0c" + DATA + b"\1x\xc0\x14" + DATA + OPT
    reply = read_reply(with_records((1, 1, 1), records), len(ASKED))
    assert [(one.section, one.rtype, one.ttl_s) for one in reply.records] == [
        (0, 1, 60),
        (1, 1, 60),
    ]
    assert reply.wire == with_records((1, 1, 1), records)[: -len(OPT)]


@pytest.mark.parametrize(
    ("counts", "records"),
    [
        ((1, 0, 0), b""),
        ((1, 0, 0), b"\xc0\x0c" + DATA[:-1]),
        ((1, 0, 0), b"\xc0\x0b" + DATA),  # points into the header
        ((1, 0, 0), b"\xc0\x1d" + DATA),  # to itself
        ((1, 0, 0), b"\xc0\xff" + DATA),  # to what is still to come
        ((1, 0, 0), b"\xc0"),
        ((1, 0, 0), b"\x40" + b"a" * 64 + b"\0" + DATA),
        ((1, 0, 0), b"\xc0\x0c\0\1\0\3" + DATA[4:]),  # another class
        ((0, 0, 2), OPT + OPT),
        ((0, 0, 2), OPT + b"\xc0\xff" + DATA),
        ((0, 0, 1), OPT[:-2] + b"\0\5\0\x0f\0\2x"),  # an option cut off
        ((0, 0, 1), OPT[:-2] + b"\0\3\0\x0f\0"),
    ],
)
def test_broken_reply_is_rejected(counts: tuple[int, int, int], records: bytes) -> None:
    with pytest.raises(Malformed):
        read_reply(with_records(counts, records), len(ASKED))
