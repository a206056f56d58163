"""systemd-resolved, by resolvectl(1): it asks banger for names in the zone, and nothing else.

What it is told belongs to the bridge and goes with it; nothing is written to /etc.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from banger.capabilities import BangerError, CommandFailed, CommandResult, Host

RUNTIME = Path("/run/systemd/resolve")
"""It writes here when it starts."""

_TIMEOUT_S = 10.0


class Resolved:
    def __init__(self, host: Host, bridge: str, address: str, zone: str) -> None:
        self._host = host
        self._bridge = bridge
        self._wanted = {
            "dns": address,
            "domain": f"~{zone}",
            "default-route": "no",
        }

    async def runs(self) -> bool:
        try:
            return (await self._run("dns")).code == 0
        except BangerError:
            return False

    async def is_told(self) -> bool:
        """It has all that `tell` says. Changes nothing. Raises `BangerError`."""
        for verb, value in self._wanted.items():
            said = await self._run(verb, self._bridge)
            # "Link 7 (banger0): 172.31.0.1"
            if said.code != 0 or said.stdout.decode().partition(": ")[2].split() != [value]:
                return False
        return True

    async def tell(self) -> None:
        """Raises `BangerError`."""
        for verb, value in self._wanted.items():
            await self._must(verb, self._bridge, value)
        # The zone is signed by nobody, and asked without encryption: also where that is the
        # rule for all others.
        await self._must("dnssec", self._bridge, "no")
        await self._must("dnsovertls", self._bridge, "no")

    async def revert(self) -> None:
        """Raises `BangerError`."""
        await self._must("revert", self._bridge)

    async def _must(self, *arguments: str) -> None:
        done = await self._run(*arguments)
        if done.code != 0:
            raise CommandFailed(_argv(arguments), done.code, done.stderr.decode(errors="replace"))

    async def _run(self, *arguments: str) -> CommandResult:
        return await self._host.run(_argv(arguments), timeout_s=_TIMEOUT_S)


def _argv(arguments: Sequence[str]) -> list[str]:
    return ["resolvectl", "--no-pager", *arguments]
