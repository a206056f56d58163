"""Events: published to everyone who listens, never waited for.

Each subscriber has one bounded queue. A slow one loses the oldest events and is told how
many (`Lost`); a publisher is never slowed down.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import trio

from banger.kernel.message import Event, Lost


class Subscription:
    """Iterate over it to get events, oldest first."""

    def __init__(self, capacity: int) -> None:
        self._queue: deque[Event] = deque()
        self._capacity = capacity
        self._lost = 0
        self._arrived = trio.Event()

    def put(self, event: Event) -> None:
        if len(self._queue) == self._capacity:
            self._queue.popleft()
            self._lost += 1
        self._queue.append(event)
        self._arrived.set()

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Event:
        while not self._queue:
            self._arrived = trio.Event()
            await self._arrived.wait()
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._lost:
            lost, self._lost = self._lost, 0
            return Lost(lost)
        return self._queue.popleft()

    def pending(self) -> list[Event]:
        """Take what is queued, without waiting."""
        events = list(self._queue)
        self._queue.clear()
        return events


class Bus:
    def __init__(self) -> None:
        self._subscriptions: set[Subscription] = set()

    def publish(self, event: Event) -> None:
        """Queue the event for everyone who listens now. Never blocks."""
        for subscription in self._subscriptions:
            subscription.put(event)

    @contextmanager
    def subscribe(self, *, capacity: int = 256) -> Iterator[Subscription]:
        subscription = Subscription(capacity)
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)
