"""The service that keeps systemd-resolved told of the zone, once that is installed."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, ClassVar

import trio
from banger.capabilities import Actor, BangerError, Host, HostNotReady, Inbox, Request

from banger_dns.resolved import RUNTIME, Resolved
from banger_dns.watch import Watch, index_of

log = logging.getLogger(__name__)

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0


class Install(Request[None], frozen=True):
    """Tell it, now and whenever it has forgotten. Raises `BangerError`; nothing is kept then."""


class Remove(Request[None], frozen=True):
    """Make it forget. Raises `BangerError`; it is told no more in any case."""


class HostResolver(Actor):
    name = "host-resolver"
    runtime: ClassVar[Path] = RUNTIME

    def __init__(self, host: Host, zone: str) -> None:
        self._host = host
        self._zone = zone
        self._changed = trio.Event()

    async def run(self, inbox: Inbox) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep)
            async for envelope in inbox:
                with envelope:
                    await self._answer(envelope.request)
                    envelope.reply(None)
            nursery.cancel_scope.cancel()

    async def _answer(self, request: Request[Any]) -> None:
        match request:
            case Install():
                await (await self._resolved()).tell()
                installed_file(self._host).touch()
                self._changed.set()
            case Remove():
                installed_file(self._host).unlink(missing_ok=True)
                self._changed.set()
                await (await self._resolved()).revert()

    async def _resolved(self) -> Resolved:
        network = await self._host.network()
        return Resolved(self._host, network.bridge, str(network.gateway.ip), self._zone)

    async def _keep(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            self._changed = trio.Event()
            if not installed_file(self._host).exists():
                await self._changed.wait()
                continue
            try:
                network = await self._host.network()
                with Watch(network.bridge, self.runtime) as watch:
                    # Without its bridge there is nothing it could be told.
                    if index_of(network.bridge):
                        await self._make_sure()
                    pause_s = FIRST_PAUSE_S
                    await self._news(watch)
            except (BangerError, OSError) as error:
                log.warning("systemd-resolved is not told of the zone: %s", error)
                with trio.move_on_after(pause_s):
                    await self._changed.wait()
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _make_sure(self) -> None:
        resolved = await self._resolved()
        if not await resolved.is_told():
            await resolved.tell()
            if not await resolved.is_told():
                raise HostNotReady("it was, and has not kept it")
            log.info("systemd-resolved was told of the zone %s", self._zone)

    async def _news(self, watch: Watch) -> None:
        async with trio.open_nursery() as nursery:

            async def installed_or_removed() -> None:
                await self._changed.wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(installed_or_removed)
            await watch.changed()
            nursery.cancel_scope.cancel()


def installed_file(host: Host) -> Path:
    return host.directory / "systemd-resolved"
