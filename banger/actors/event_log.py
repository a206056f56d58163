"""The event log: numbers what the bus carries, keeps it on disk and tells those who read it.

An event is written before a reader sees it, so no number a reader has seen is used again
when the daemon was killed. Publishers wait for neither.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from banger.actors.blocking import run_blocking
from banger.actors.event_ring import EventRing
from banger.host.event_file import EventFile
from banger.kernel.actor import Actor, Inbox
from banger.kernel.bus import Bus
from banger.kernel.message import Event
from banger.model.events import BuildProgress, Recorded, SeedProgress

log = logging.getLogger(__name__)

QUEUE = 4096


class EventLog(Actor):
    """``ring`` outlives the actor: built again, it goes on where its predecessor stopped."""

    name = "event-log"

    def __init__(self, path: Path, bus: Bus, ring: EventRing) -> None:
        self._file = EventFile(path)
        self._bus = bus
        self._ring = ring

    async def run(self, inbox: Inbox) -> None:
        with self._bus.subscribe(capacity=QUEUE) as events:
            if not self._ring.filled.is_set():
                self._ring.fill(await run_blocking(self._file.load, self._ring.capacity))
            async for event in events:
                await self._keep([event, *events.pending()])

    async def _keep(self, events: Iterable[Event]) -> None:
        # Lines of builds are many, and are in the builds' own logs; steps of seeds tell little.
        kept: list[Any] = [
            event for event in events if not isinstance(event, BuildProgress | SeedProgress)
        ]
        if not kept:
            return
        at = round(time.time(), 6)
        first = self._ring.last + 1
        batch = [Recorded(first + place, at, event) for place, event in enumerate(kept)]
        try:
            await run_blocking(self._file.append, batch)
        except OSError as error:
            log.warning("the event log misses %d events: %s", len(batch), error)
        self._ring.extend(batch)
