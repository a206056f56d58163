"""The last events in memory, for any number of readers, each at its own pace.

A reader has a place in the ring and no queue of its own: nobody waits for a slow one. It is
told how many events it missed when the ring has gone on without it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable

import trio

from banger.kernel.message import Lost
from banger.model.events import Recorded

CAPACITY = 8192
BATCH = 256
"""So many events are looked at before others get a turn."""


class EventRing:
    def __init__(self, capacity: int = CAPACITY) -> None:
        self.capacity = capacity
        self.filled = trio.Event()
        """Set when what was on disk is there."""
        self._events: list[Recorded] = []
        self._arrived = trio.Event()

    @property
    def last(self) -> int:
        """The number of the last event; 0 before the first."""
        return self._events[-1].seq if self._events else 0

    def fill(self, events: Iterable[Recorded]) -> None:
        """Begin with these, oldest first."""
        self.extend(events)
        self.filled.set()

    def extend(self, events: Iterable[Recorded]) -> None:
        self._events += events
        # Twice the room, so that not every new event moves all others.
        if len(self._events) >= 2 * self.capacity:
            del self._events[: -self.capacity]
        self._arrived.set()
        self._arrived = trio.Event()

    def read(self, after: int | None, *, follow: bool) -> EventReader:
        """Events with a higher number than ``after``; None: all that are kept.

        With ``follow`` it never ends. A number that was not given yet is of another
        installation: then all are read.
        """
        return EventReader(self, after, follow=follow)

    @property
    def before_first(self) -> int:
        """The number before the first that is kept."""
        return self._events[0].seq - 1 if self._events else 0

    def following(self, place: int) -> list[Recorded]:
        """Some of the events after this number."""
        index = bisect_right(self._events, place, key=lambda recorded: recorded.seq)
        return self._events[index : index + BATCH]

    async def more(self) -> None:
        """Wait for further events."""
        await self._arrived.wait()


class EventReader:
    """Iterate over it to get events, oldest first.

    `Lost` stands, with the number of the last of them, for events that are no longer there.
    """

    def __init__(self, ring: EventRing, after: int | None, *, follow: bool) -> None:
        self._ring = ring
        self._after = after
        self._follow = follow
        self._place: int | None = None
        self._batch: deque[Recorded] = deque()

    def __aiter__(self) -> EventReader:
        return self

    async def __anext__(self) -> Recorded:
        place = await self._begin() if self._place is None else self._place
        while not self._batch:
            self._batch.extend(self._ring.following(place))
            if self._batch:
                await trio.lowlevel.checkpoint()
            elif self._follow:
                await self._ring.more()
            else:
                raise StopAsyncIteration
        first = self._batch[0]
        missed = first.seq - place - 1
        if missed:
            self._place = first.seq - 1
            return Recorded(self._place, first.at, Lost(missed))
        self._place = first.seq
        return self._batch.popleft()

    async def _begin(self) -> int:
        await self._ring.filled.wait()
        if self._after is None or self._after > self._ring.last:
            return self._ring.before_first
        return self._after
