"""Ending a VM by itself: at its time, or when nobody has used it for long."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from banger.actors.console import Console
from banger.actors.vm_requests import Delete, Stop
from banger.actors.vm_runtime import Runtime
from banger.actors.vm_standing import Standing
from banger.guest import agent
from banger.kernel.errors import BangerError
from banger.kernel.message import Request
from banger.model.durations import spell_duration
from banger.model.events import LifetimeEnded
from banger.model.vm import Verb, VmState, guard

log = logging.getLogger(__name__)

RETRY_S = 1.0
"""After an end that is not legal just now, as while the VM starts."""
CLOCK_LOOK_S = 60.0
"""The host's clock may be set, and does not run while the host sleeps: look that often."""
USE_LOOK_MAX_S, USE_LOOK_MIN_S = 30.0, 1.0
HEALTH_DEADLINE_S = 10.0

Order = Callable[[Request[Any]], Awaitable[object]]


class LifetimeWatch:
    """``order`` asks the VM's own actor; both tasks run until cancelled."""

    def __init__(
        self, standing: Standing, runtime: Runtime, console: Console, order: Order
    ) -> None:
        self._standing = standing
        self._runtime = runtime
        self._console = console
        self._order = order

    async def delete_in_time(self) -> None:
        while True:
            changed = self._standing.changed
            expires_at = self._standing.record.lifetime.expires_at
            left_s = math.inf if expires_at is None else expires_at - time.time()
            if left_s <= 0:
                await self._end(Verb.DELETE, Delete(), "its time to live is over")
            else:
                with trio.move_on_after(min(left_s, CLOCK_LOOK_S) if expires_at else math.inf):
                    await changed.wait()

    async def stop_when_idle(self) -> None:
        """The count begins anew with each start, resumption or adoption."""
        used_at = trio.current_time()
        while True:
            changed = self._standing.changed
            limit_s = self._standing.record.lifetime.idle_stop_s
            if limit_s is None or self._standing.state is not VmState.RUNNING:
                await changed.wait()
                used_at = trio.current_time()
                continue
            used_at = max(used_at, await self._last_use())
            left_s = used_at + limit_s - trio.current_time()
            if left_s <= 0:
                reason = f"not used for {spell_duration(limit_s)}"
                await self._end(Verb.STOP, Stop(reason=reason), reason)
            else:
                look_s = min(USE_LOOK_MAX_S, max(USE_LOOK_MIN_S, limit_s / 10))
                with trio.move_on_after(min(left_s, look_s)):
                    await changed.wait()

    async def _last_use(self) -> float:
        """On trio's clock: now, or when the last command, copy or reading of the console ended."""
        link = self._runtime.link
        seen = [self._console.used_at, link.used_at if link else -math.inf]
        if math.inf not in seen and link is not None:
            # Whoever came by SSH is known in the guest only.
            try:
                with trio.move_on_after(HEALTH_DEADLINE_S):
                    if (await agent.health(link)).sessions:
                        return trio.current_time()
            except BangerError as error:
                log.info("VM %s: who uses it is not known: %s", self._standing.name, error)
        return min(max(seen), trio.current_time())

    async def _end(self, verb: Verb, request: Request[Any], why: str) -> None:
        name = self._standing.name
        try:
            guard(name, self._standing.state, verb)
            self._standing.publish(LifetimeEnded(name, why))
            await self._order(request)
        except BangerError as error:
            log.info("VM %s: %s, but: %s", name, why, error)
            await trio.sleep(RETRY_S)
