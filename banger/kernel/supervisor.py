"""Keeps actors running: restart with backoff, give up past an intensity limit.

An actor that returns is finished and is not restarted. One that raises is built again by
its factory, so it starts from its records and from the machine, never from the state that
crashed. Its `Ref` stays the same: requests sent meanwhile wait for the new one. One
actor's fault never reaches another.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

import msgspec
import trio

from banger.kernel.actor import Actor, Inbox, Ref, mailbox

log = logging.getLogger(__name__)


class Intensity(msgspec.Struct, frozen=True):
    """At most ``restarts`` within ``period_s``; pauses double from ``first_pause_s``."""

    restarts: int = 5
    period_s: float = 60.0
    first_pause_s: float = 0.1
    longest_pause_s: float = 5.0


class Child:
    """A supervised actor as its parent sees it."""

    def __init__(self, ref: Ref, inbox: Inbox) -> None:
        self.ref = ref
        self.finished = trio.Event()
        self.failure: Exception | None = None
        """Why the supervisor gave up; None while it has not."""
        self._inbox = inbox
        self._scope = trio.CancelScope()

    async def stop(self) -> None:
        """Cancel the actor and wait until it has ended."""
        self._scope.cancel()
        await self.finished.wait()


class Supervisor:
    """Starts actors in ``nursery`` and watches them.

    ``on_give_up(child)`` is called once when a child's limit is passed.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        *,
        intensity: Intensity | None = None,
        on_give_up: Callable[[Child], None] | None = None,
    ) -> None:
        self._nursery = nursery
        self._intensity = intensity or Intensity()
        self._on_give_up = on_give_up

    def start(self, name: str, factory: Callable[[], Actor]) -> Child:
        child = Child(*mailbox(name))
        self._nursery.start_soon(self._keep, child, factory, name=name)
        return child

    async def _keep(self, child: Child, factory: Callable[[], Actor]) -> None:
        crashes: deque[float] = deque()
        pause_s = self._intensity.first_pause_s
        try:
            with child._scope:
                while True:
                    try:
                        await factory().run(child._inbox)
                    except Exception as error:
                        log.exception("actor %s crashed", child.ref.name)
                        now = trio.current_time()
                        crashes.append(now)
                        while crashes[0] < now - self._intensity.period_s:
                            crashes.popleft()
                        if len(crashes) > self._intensity.restarts:
                            child.failure = error
                            return
                        if len(crashes) == 1:
                            pause_s = self._intensity.first_pause_s
                    except BaseExceptionGroup as group:
                        # It crashed while it was being cancelled: only the latter goes on.
                        bugs, cancelled = group.split(Exception)
                        if bugs is not None:
                            log.exception("%s crashed at its end", child.ref.name, exc_info=bugs)
                        assert cancelled is not None
                        raise cancelled from None
                    else:
                        return
                    await trio.sleep(pause_s)
                    pause_s = min(pause_s * 2, self._intensity.longest_pause_s)
        finally:
            child._inbox.close()
            child.finished.set()
            if child.failure is not None and self._on_give_up is not None:
                self._on_give_up(child)
