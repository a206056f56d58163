"""The lifecycle log: every stage and change of every VM, one JSON object a line.

``lifecycle.jsonl`` in the state directory; when full it becomes ``lifecycle.jsonl.1``.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

import msgspec

from banger.kernel.actor import Actor, Inbox
from banger.kernel.bus import Bus
from banger.kernel.message import Event
from banger.model.events import BuildProgress

log = logging.getLogger(__name__)

LIMIT_BYTES = 8 << 20
QUEUE = 4096


class LifecycleLog(Actor):
    name = "lifecycle-log"

    def __init__(self, path: Path, bus: Bus) -> None:
        self._path = path
        self._bus = bus

    async def run(self, inbox: Inbox) -> None:
        with self._bus.subscribe(capacity=QUEUE) as events:
            async for event in events:
                if isinstance(event, BuildProgress):
                    continue
                try:
                    self._write(event)
                except OSError as error:
                    log.warning("the lifecycle log misses %s: %s", event, error)

    def _write(self, event: Event) -> None:
        line = {"at": round(time.time(), 6)} | msgspec.to_builtins(event)
        with self._path.open("ab") as file:
            file.write(msgspec.json.encode(line) + b"\n")
            full = file.tell() >= LIMIT_BYTES
        if full:
            self._path.replace(self._path.with_name(self._path.name + ".1"))
