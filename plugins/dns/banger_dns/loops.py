"""Finding resolvers that ask this server in turn.

A loop shows as a question that comes in from the host, or from a resolver, while the same
question is under way to a resolver. That can also be chance, so the resolvers are sent a
probe: a question for a random name that nobody else knows. A resolver whose probe arrives
here loops, and is left out for a while.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import inf

import trio

from banger_dns.answers import Question
from banger_dns.errors import UpstreamFailed
from banger_dns.names import Labels, labels_of
from banger_dns.resolvers import Resolver
from banger_dns.upstream import ask
from banger_dns.wire import Ede, Type

REMEMBERED_S = 60.0
"""How long a verdict on a resolver holds."""
_PROBE_S = 1.0
# RFC 9476: no name below alt is in the DNS. Names below invalid would not be forwarded.
_SUFFIX = labels_of("loop-probe.banger.alt")


class LoopWatch:
    def __init__(self) -> None:
        self._tokens: dict[bytes, Resolver] = {}
        self._looping_until: dict[Resolver, float] = {}
        self._probed_until: dict[Resolver, float] = {}
        self._under_way: defaultdict[Resolver, set[trio.CancelScope]] = defaultdict(set)

    def loops(self, resolver: Resolver) -> bool:
        """Whether *resolver* was found to ask this server, lately."""
        return trio.current_time() < self._looping_until.get(resolver, -inf)

    @contextmanager
    def guard(self, resolver: Resolver) -> Iterator[None]:
        """Raises UpstreamFailed in place of the block when *resolver* turns out to loop."""
        with trio.CancelScope() as scope:
            self._under_way[resolver].add(scope)
            try:
                yield
            finally:
                self._under_way[resolver].discard(scope)
        if scope.cancelled_caught:
            raise UpstreamFailed(
                f"a forwarding loop: {resolver} asks this server", ede=Ede.OTHER, answered=True
            )

    async def probe(self, resolvers: Sequence[Resolver]) -> None:
        """Probe those of *resolvers* that weren't probed lately."""
        now = trio.current_time()
        async with trio.open_nursery() as nursery:
            for resolver in resolvers:
                if now >= self._probed_until.get(resolver, -inf):
                    self._probed_until[resolver] = now + REMEMBERED_S
                    nursery.start_soon(self._probe, resolver)

    def saw(self, labels: Labels) -> None:
        """To be told of every name that is asked for: it may be a probe's."""
        if labels[1:] != _SUFFIX:
            return
        resolver = self._tokens.get(labels[0])
        if resolver is not None:
            self._looping_until[resolver] = trio.current_time() + REMEMBERED_S
            for scope in self._under_way[resolver]:
                scope.cancel()

    async def _probe(self, resolver: Resolver) -> None:
        token = secrets.token_hex(16).encode()
        self._tokens[token] = resolver
        try:
            with trio.move_on_after(_PROBE_S):
                await ask(resolver, Question((token, *_SUFFIX), Type.A))
        except UpstreamFailed:
            # Only whether the question comes back matters, not its answer.
            pass
        finally:
            del self._tokens[token]
