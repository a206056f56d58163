"""A daemon in memory whose bridge is an address of loopback."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Any

import trio
import trio.testing
from banger.capabilities import CommandCall, HostNotReady, Network
from banger.testing import FakeDaemon

from banger_dns.capability import Dns
from banger_dns.messages import GetStatus, Status

NETWORK = Network("lo", IPv4Interface("127.77.0.1/22"))
OTHER_NETWORK = Network("lo", IPv4Interface("127.78.0.1/24"))


class DnsDaemon(FakeDaemon):
    """``network`` None: there is none."""

    def __init__(self, directory: Path, settings: Mapping[str, object] | None = None) -> None:
        super().__init__(Dns, directory, settings={"port": 0, **(settings or {})})
        self.network: Network | None = NETWORK
        self.published: dict[str, trio.Event] = {}
        self.host.network = self._network  # type: ignore[method-assign]
        publish = self.host.publish

        def publish_and_tell(kind: str, **data: Any) -> None:
            publish(kind, **data)
            self.published.pop(kind, trio.Event()).set()

        self.host.publish = publish_and_tell  # type: ignore[method-assign]

    async def _network(self) -> Network:
        await trio.lowlevel.checkpoint()
        if self.network is None:
            raise HostNotReady("no right to make a bridge")
        return self.network

    async def next(self, kind: str) -> dict[str, Any]:
        """Wait for the next event of the kind."""
        with trio.fail_after(5):
            await self.published.setdefault(kind, trio.Event()).wait()
        return next(event.data for event in reversed(self.host.events) if event.kind == kind)

    async def listening(self, address: str = str(NETWORK.gateway.ip)) -> None:
        """Wait until it listens there."""
        with trio.fail_after(5):
            while True:
                listeners = (await self.status()).listeners
                if any((each.address, each.problem) == (address, "") for each in listeners):
                    return
                # A thread is at work on it.
                await trio.testing.wait_all_tasks_blocked(0.005)

    async def status(self) -> Status:
        return await self.host.service("server").ask(GetStatus())

    async def names(self) -> dict[str, str]:
        return {each.name: each.address for each in (await self.status()).names}

    async def command(self, method: str, **parameters: Any) -> tuple[int, Any, list[str]]:
        """Exit code, document and lines."""
        lines: list[str] = []

        async def write(text: str) -> None:
            lines.append(text.rstrip("\n"))

        call = CommandCall(parameters, write)
        code = await getattr(self.capability, method)(call)
        return code, call.document, lines

    async def findings(self, name: str) -> list[tuple[str, str]]:
        """Level and summary."""
        (check,) = (each for each in self.capability.checks() if each.name == name)
        return [(found.level.value, found.summary) for found in await check.run()]
