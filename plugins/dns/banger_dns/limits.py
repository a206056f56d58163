"""How much a client may ask for, so that one guest can't starve the others or the host."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All limits of the server. Rates are in queries a second, sizes in bytes.

    What is beyond `queries_per_s` and `refusals_per_s` is dropped without a word. A forwarded
    query beyond its limits is answered SERVFAIL at once.
    """

    queries_per_s: int = 20_000
    """Of one client, of any kind."""
    forwarded_per_s: int = 500
    """Of one client, sent upstream; twice as many in a burst."""
    forwarded_at_once: int = 200
    """Of all clients. Each may hold three descriptors, and the daemon needs some as well."""
    forwarded_at_once_per_client: int = 50
    refusals_per_s: int = 20
    """Replies to strangers, of all of them."""
    clients_remembered: int = 4096
    tcp_connections: int = 64
    tcp_connections_per_client: int = 8
    tcp_idle_s: float = 10.0
    """How long a connection may be silent, or its peer not read."""
    cache_entries: int = 4096
    cache_bytes: int = 8 << 20


class TokenBuckets:
    """A rate for each client, with bursts; remembers at most *capacity* clients.

    When there are more, the one known longest is forgotten, and begins with a full bucket
    when it comes again.
    """

    def __init__(
        self,
        rate: float,
        burst: float,
        capacity: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rate = rate
        self._burst = burst
        self._capacity = capacity
        self._clock = clock
        self._buckets: dict[str, list[float]] = {}

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, client: str) -> bool:
        """Whether *client* is within its rate; takes one of its tokens if so."""
        now = self._clock()
        bucket = self._buckets.get(client)
        if bucket is None:
            if len(self._buckets) >= self._capacity:
                del self._buckets[next(iter(self._buckets))]
            bucket = self._buckets[client] = [self._burst, now]
        tokens = min(self._burst, bucket[0] + (now - bucket[1]) * self._rate)
        bucket[1] = now
        if tokens < 1:
            bucket[0] = tokens
            return False
        bucket[0] = tokens - 1
        return True


class Places:
    """A number of places for all clients, and of these some for each."""

    def __init__(self, total: int, per_client: int) -> None:
        self._total = total
        self._per_client = per_client
        self._taken: Counter[str] = Counter()
        self.in_use = 0

    def take(self, client: str) -> bool:
        """Take a place for *client*; False when there is none. To be given back."""
        if self.in_use >= self._total or self._taken[client] >= self._per_client:
            return False
        self.in_use += 1
        self._taken[client] += 1
        return True

    def give_back(self, client: str) -> None:
        self.in_use -= 1
        self._taken[client] -= 1
        if not self._taken[client]:
            del self._taken[client]

    @contextmanager
    def hold(self, client: str) -> Iterator[bool]:
        """Take a place while the block runs; the block learns whether there was one."""
        taken = self.take(client)
        try:
            yield taken
        finally:
            if taken:
                self.give_back(client)
