"""What the daemon offers a capability: `banger.capabilities.host.Host`, for real."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import trio

from banger.actors import fleet, vm_requests
from banger.actors.firewall import PinTap, PutRules, RemoveRules, UnpinTap
from banger.actors.tap_pool import GetNetwork
from banger.capabilities import guard
from banger.capabilities.host import CommandResult, OwnSettings, Vm
from banger.capabilities.options import Options
from banger.capabilities.registry import Registry
from banger.guest.exec import capture
from banger.host.keys import InstallationKey, KeyPair
from banger.host.paths import Paths, make_private
from banger.kernel.actor import Ref
from banger.kernel.bus import Bus
from banger.kernel.errors import BangerError, HostNotReady, TimedOut, UsageError
from banger.model.events import PluginEvent
from banger.model.firewall import Pin, Rules
from banger.model.network import Network
from banger.model.requests.exec import Exec
from banger.model.settings import Settings
from banger.model.vm import OptionValues

log = logging.getLogger(__name__)

OUTPUT_LIMIT_BYTES = 1 << 20


@dataclass
class Daemon:
    """The parts of the daemon that capabilities reach; some are there only after they are."""

    settings: Settings
    paths: Paths
    key: InstallationKey
    bus: Bus
    taps: Ref
    firewall: Ref
    fleet: Ref | None = None
    registry: Registry | None = None
    services: dict[tuple[str, str], Ref] = field(default_factory=dict)


class PluginFirewall:
    def __init__(self, firewall: Ref, capability: str) -> None:
        self._firewall = firewall
        self._capability = capability

    async def put(self, key: str, rules: Rules) -> None:
        await self._firewall.ask(PutRules(self._capability, key, rules))

    async def remove(self, key: str) -> None:
        await self._firewall.ask(RemoveRules(self._capability, key))

    async def pin(self, pin: Pin) -> None:
        await self._firewall.ask(PinTap(pin))

    async def unpin(self, tap: str) -> None:
        await self._firewall.ask(UnpinTap(tap))


class PluginHost:
    def __init__(self, daemon: Daemon, capability: str) -> None:
        self._daemon = daemon
        self._capability = capability
        self.settings = OwnSettings(daemon.settings, capability)
        self.firewall = PluginFirewall(daemon.firewall, capability)
        wanted = daemon.settings.text("network.resolvers").split(",")
        self.resolvers: Sequence[str] = tuple(filter(None, (text.strip() for text in wanted)))

    @property
    def key(self) -> KeyPair:
        return self._daemon.key.pair

    @property
    def directory(self) -> Path:
        path = self._daemon.paths.state / "capabilities" / self._capability
        make_private(path)
        return path

    async def network(self) -> Network:
        return await self._daemon.taps.ask(GetNetwork())

    async def vms(self) -> list[tuple[Vm, Options]]:
        assert self._daemon.fleet is not None and self._daemon.registry is not None
        found = []
        for seen in await self._daemon.fleet.ask(fleet.LookAtVms()):
            try:
                options = self._daemon.registry.options(self._capability, seen.options)
            except UsageError as error:
                # One VM's trouble must not be that of all.
                log.warning("VM %s is left out for %s: %s", seen.vm.name, self._capability, error)
            else:
                found.append((seen.vm, options))
        return found

    async def change_options(
        self, vm_name: str, options: dict[str, Any] | Callable[[Any], dict[str, Any]]
    ) -> None:
        registry, capability = self._daemon.registry, self._capability
        assert self._daemon.fleet is not None and registry is not None

        def given(recorded: OptionValues) -> OptionValues:
            if not callable(options):
                return {capability: options}
            now = registry.options(capability, recorded)
            try:
                return {capability: guard.call(lambda: options(now))}
            except guard.Misbehaved as error:
                raise BangerError(f"capability {capability!r}, changing options: {error}") from None

        ref = await self._daemon.fleet.ask(fleet.FindVm(vm_name))
        await ref.ask(vm_requests.Change(options=given))

    def service(self, name: str) -> Ref:
        return self._daemon.services[self._capability, name]

    def publish(self, kind: str, **data: Any) -> None:
        # As plain data from here on: a subscriber must not stumble over what it can't encode.
        plain = msgspec.json.decode(msgspec.json.encode(data))
        self._daemon.bus.publish(PluginEvent(self._capability, str(kind), plain))

    async def run(
        self, argv: Sequence[str], *, stdin: bytes = b"", timeout_s: float = 30.0
    ) -> CommandResult:
        run = partial(
            trio.run_process,
            list(argv),
            stdin=stdin,
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )
        try:
            with trio.fail_after(timeout_s):
                done = await run()
        except FileNotFoundError:
            raise HostNotReady(f"{argv[0]} is not installed") from None
        except trio.TooSlowError:
            raise TimedOut(f"{argv[0]} was ended after {timeout_s:g} s") from None
        out, err = done.stdout or b"", done.stderr or b""
        return CommandResult(done.returncode, out[:OUTPUT_LIMIT_BYTES], err[:OUTPUT_LIMIT_BYTES])

    async def guest_run(
        self,
        target: Vm,
        argv: Sequence[str],
        *,
        timeout_s: float = 30.0,
        user: str = "root",
        workdir: str | None = None,
    ) -> CommandResult:
        assert self._daemon.fleet is not None
        ref = await self._daemon.fleet.ask(fleet.FindVm(target.name))
        link = await ref.ask(vm_requests.GetLinkForHooks())
        try:
            with trio.fail_after(timeout_s):
                request = Exec(target.name, list(argv), user=user, cwd=workdir)
                result, out, err = await capture(link, request, limit_bytes=OUTPUT_LIMIT_BYTES)
        except trio.TooSlowError:
            raise TimedOut(
                f"{argv[0]} in VM {target.name!r} was ended after {timeout_s:g} s"
            ) from None
        return CommandResult(128 + result.signal if result.signal else result.code, out, err)
