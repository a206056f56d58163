"""The channels to one guest's agent, shared by all who want something of it.

A driver says how many channels there are and how to open one. Channel 0 is kept for short
requests (health, power off), so that long commands on all the others never block them.
Connections are kept open between requests; one that was left in the middle of something
is closed, and the next user of the channel resynchronises.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio

from banger.guest.connection import ANSWER_DEADLINE_S, AgentConnection, silent
from banger.guest.patience import Patience
from banger.kernel.errors import Busy, ConnectionLost

Dial = Callable[[int], Awaitable[trio.abc.Stream]]

BUSY_AFTER_S = 10.0


class _Channel:
    def __init__(self) -> None:
        self.lock = trio.Lock()
        self.connection: AgentConnection | None = None


class AgentLink:
    def __init__(self, dial: Dial, channels: int, *, untouched: bool = False) -> None:
        """``untouched``: nobody has spoken on the channels yet, as in a guest just restored from a
        template. Then there is nothing to resynchronise, which takes such a guest 50 ms."""
        self._untouched = set(range(channels)) if untouched else set()
        self.patience = Patience()
        self.used_at = -math.inf
        """When the last session ended, on trio's clock; infinity while there is one."""
        self._in_use = 0
        self._dial = dial
        self._control = _Channel()
        self._sessions = [_Channel() for _ in range(channels - 1)]
        self._free = trio.Semaphore(channels - 1)
        self._idle = [*reversed(range(channels - 1))]
        """The one used last at the end: the guest is quick where it has just been, and a channel
        that was never used costs it a port and a process."""

    @asynccontextmanager
    async def control(self) -> AsyncIterator[AgentConnection]:
        """For short requests; the caller sets a deadline."""
        async with self._control.lock, self._connected(self._control, 0) as connection:
            yield connection

    @asynccontextmanager
    async def session(self) -> AsyncIterator[AgentConnection]:
        """For commands and files. Raises `Busy` when all channels stay taken."""
        index = await self._take()
        self._use(1)
        try:
            async with self._connected(
                self._sessions[index], index + 1, deadline_s=ANSWER_DEADLINE_S
            ) as connection:
                yield connection
        finally:
            self._use(-1)
            self._idle.append(index)
            self._free.release()

    def _use(self, more: int) -> None:
        self._in_use += more
        self.used_at = math.inf if self._in_use else trio.current_time()

    async def _take(self) -> int:
        with trio.move_on_after(BUSY_AFTER_S):
            await self._free.acquire()
            return self._idle.pop()
        raise Busy(
            f"all {len(self._sessions)} channels to the guest are in use",
            hint="wait until one of the running commands or copies has ended",
        )

    @asynccontextmanager
    async def _connected(
        self, channel: _Channel, index: int, *, deadline_s: float = math.inf
    ) -> AsyncIterator[AgentConnection]:
        if channel.connection is None:
            with self.patience.limit(deadline_s) as deadline:
                channel.connection = await self._connect(index)
            if deadline.cancelled_caught:
                raise silent()
        assert channel.connection is not None
        connection = channel.connection
        try:
            yield connection
        finally:
            if not connection.idle:
                if channel.connection is connection:
                    channel.connection = None
                await connection.aclose()

    async def _connect(self, index: int) -> AgentConnection:
        try:
            connection = AgentConnection(await self._dial(index), self.patience)
        except OSError as error:
            raise ConnectionLost(f"the guest agent can't be reached: {error}") from None
        if index in self._untouched:
            self._untouched.remove(index)
            return connection
        try:
            await connection.resynchronise()
        except BaseException:
            await connection.aclose()
            raise
        return connection

    async def reset(self) -> None:
        """Drop all connections, as after a reboot of the guest."""
        self._untouched.clear()
        for channel in (self._control, *self._sessions):
            connection, channel.connection = channel.connection, None
            if connection is not None:
                await connection.aclose()
