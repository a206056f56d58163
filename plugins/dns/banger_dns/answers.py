"""Answers that came from a resolver, and the cache that keeps them."""

from __future__ import annotations

import struct
import time
from collections import OrderedDict
from collections.abc import Callable

import msgspec

from banger_dns.names import Labels, wire_of
from banger_dns.replies import ADDITIONAL, ANSWER, AUTHORITY, Reply
from banger_dns.wire import (
    AD,
    CD,
    HEADER,
    IN,
    QUESTION_TAIL,
    RD,
    Edns,
    Outcome,
    Rcode,
    Type,
    write_query,
)

LONGEST_S = 86400
"""An answer is kept no longer than this, whatever it says."""
LONGEST_NEGATIVE_S = 300
FAILURE_S = 1
"""How long a failure is remembered (RFC 9520 asks for at least a second)."""

# So that even a reply of 512 bytes has room for it.
_LONGEST_EDE_TEXT = 160

_TTL = struct.Struct(">I")
# What an entry costs beside the bytes of its body: objects, dictionary slots.
_ENTRY_OVERHEAD = 600
_TTL_OVERHEAD = 120


class Question(msgspec.Struct, frozen=True):
    """What is asked of a resolver, of class IN: all that the answer depends on."""

    labels: Labels
    qtype: int
    do: bool = False
    cd: bool = False

    @property
    def wire(self) -> bytes:
        """The question section."""
        return wire_of(self.labels) + QUESTION_TAIL.pack(self.qtype, IN)

    def query(self, id_: int, edns: Edns | None) -> bytes:
        """The query to a resolver. AD asks whether the answer was validated (RFC 6840, 5.7)."""
        return write_query(id_, self.wire, RD | AD | (CD if self.cd else 0), edns)


class Answer(msgspec.Struct, frozen=True):
    """All sections of an answer as bytes, without its OPT record.

    *ttls* are the offsets in *body* of the records' TTLs with their values in seconds;
    *lifetime_s* is how long the answer may be given to others, 0 for not at all. Names in
    *body* may point to the question, so it fits behind one of the same name only.
    """

    rcode: int
    lifetime_s: int
    validated: bool = False
    body: bytes = b""
    counts: tuple[int, int, int] = (0, 0, 0)
    ttls: tuple[tuple[int, int], ...] = ()
    ede: tuple[int, str] | None = None

    @property
    def size(self) -> int:
        return len(self.body) + _ENTRY_OVERHEAD + _TTL_OVERHEAD * len(self.ttls)

    def outcome(self, age_s: int, *, ad: bool) -> Outcome:
        """What to reply *age_s* seconds after the answer came; *ad* lets the AD flag through."""
        body = self.body
        if age_s:
            aged = bytearray(body)
            for offset, ttl in self.ttls:
                _TTL.pack_into(aged, offset, max(ttl - age_s, 0))
            body = bytes(aged)
        flags = AD if ad and self.validated else 0
        return Outcome(rcode=self.rcode, body=body, counts=self.counts, flags=flags, ede=self.ede)


def failed(rcode: Rcode, ede: int, text: str) -> Answer:
    return Answer(rcode=rcode, lifetime_s=FAILURE_S, ede=(ede, text[:_LONGEST_EDE_TEXT]))


def answer_from(reply: Reply, question: Question) -> Answer:
    """Keep what a resolver sent in reply to *question*."""
    start = HEADER.size + len(question.wire)
    counts = [0, 0, 0]
    for record in reply.records:
        counts[record.section] += 1
    return Answer(
        rcode=reply.rcode,
        lifetime_s=_lifetime_s(reply, question),
        validated=bool(reply.flags & AD),
        body=reply.wire[start:],
        counts=(counts[ANSWER], counts[AUTHORITY], counts[ADDITIONAL]),
        ttls=tuple((record.ttl_at - start, record.ttl_s) for record in reply.records),
    )


def _lifetime_s(reply: Reply, question: Question) -> int:
    lifetime = min((record.ttl_s for record in reply.records), default=0)
    for record in reply.records:
        if record.section == ANSWER and record.rtype == question.qtype:
            return min(lifetime, LONGEST_S)
    # RFC 2308, 5: what is not there is remembered as long as its SOA allows.
    for record in reply.records:
        if record.section == AUTHORITY and record.rtype == Type.SOA:
            return min(lifetime, int.from_bytes(record.data[-4:]), LONGEST_NEGATIVE_S)
    return 0


class Cache:
    """The answers used last, up to a number of them and a number of bytes."""

    def __init__(
        self, entries: int, size: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most_entries = entries
        self._most_bytes = size
        self._clock = clock
        self._entries: OrderedDict[Question, tuple[Answer, float]] = OrderedDict()
        self.size = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, question: Question) -> tuple[Answer, int] | None:
        """The answer and its age in whole seconds, while it lives."""
        entry = self._entries.get(question)
        if entry is None:
            return None
        answer, since = entry
        age_s = self._clock() - since
        if age_s >= answer.lifetime_s:
            self._remove(question)
            return None
        self._entries.move_to_end(question)
        return answer, int(age_s)

    def put(self, question: Question, answer: Answer) -> None:
        """Keep *answer*, unless its lifetime is 0 or it is larger than everything together."""
        if question in self._entries:
            self._remove(question)
        if not answer.lifetime_s or answer.size > self._most_bytes:
            return
        self._entries[question] = (answer, self._clock())
        self.size += answer.size
        while len(self._entries) > self._most_entries or self.size > self._most_bytes:
            self._remove(next(iter(self._entries)))

    def clear(self) -> None:
        self._entries.clear()
        self.size = 0

    def _remove(self, question: Question) -> None:
        answer, _ = self._entries.pop(question)
        self.size -= answer.size
