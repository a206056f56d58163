"""The service actors that capabilities bring, supervised like banger's own."""

from __future__ import annotations

import logging
from functools import partial

import trio

from banger.actors.firewall import RemoveRules
from banger.actors.plugin_host import Daemon
from banger.capabilities import guard
from banger.capabilities.capability import AnyCapability
from banger.capabilities.host import Service
from banger.capabilities.registry import Registry
from banger.kernel.actor import Actor, Inbox
from banger.kernel.errors import BangerError
from banger.kernel.supervisor import Child, Supervisor
from banger.model.events import CapabilityDisabled

log = logging.getLogger(__name__)


class PluginServices:
    """One that crashes too often turns its capability off; a capability turned off loses its
    services and its firewall rules. Nothing else is touched."""

    def __init__(self, nursery: trio.Nursery, registry: Registry, daemon: Daemon) -> None:
        self._registry = registry
        self._daemon = daemon
        self._supervisor = Supervisor(nursery, on_give_up=self._give_up)
        self._nursery = nursery
        self._children: dict[str, list[Child]] = {}
        registry.on_disabled = self._disabled

    def start(self) -> None:
        for name, capability in list(self._registry.active.items()):
            try:
                wanted = guard.call(partial(_services, capability))
            except Exception as error:
                self._registry.disable(name, f"its services: {error}")
                continue
            for service in wanted:
                self._start(name, service)

    def _start(self, capability: str, service: Service) -> None:
        child = self._supervisor.start(f"{capability}/{service.name}", partial(_Guarded, service))
        self._children.setdefault(capability, []).append(child)
        self._daemon.services[capability, service.name] = child.ref

    async def stop(self) -> None:
        """End all; those that others come ``after`` last."""
        for capability in reversed(list(self._children)):
            for child in self._children.pop(capability):
                await child.stop()

    def _give_up(self, child: Child) -> None:
        for capability, children in self._children.items():
            if child in children:
                reason = f"its service {child.ref.name} crashed too often: {child.failure}"
                self._registry.disable(capability, reason)
                return

    def _disabled(self, capability: str, reason: str) -> None:
        self._daemon.bus.publish(CapabilityDisabled(capability, reason))
        # Its hooks will not be called any more to take them away.
        self._nursery.start_soon(self._remove_rules, capability)
        for child in self._children.pop(capability, ()):
            self._nursery.start_soon(child.stop)

    async def _remove_rules(self, capability: str) -> None:
        try:
            await self._daemon.firewall.ask(RemoveRules(capability))
        except BangerError as error:
            log.warning("rules of capability %s were left: %s", capability, error)


def _services(capability: AnyCapability) -> list[Service]:
    wanted = list(capability.services())
    for service in wanted:
        if not isinstance(service, Service):
            raise TypeError(f"{service!r} is no Service")
    return wanted


class _Guarded(Actor):
    """The plugin's actor; what it does wrong is an ordinary crash of an actor."""

    def __init__(self, service: Service) -> None:
        self.name = service.name
        self._service = service

    async def run(self, inbox: Inbox) -> None:
        async def run() -> None:
            await self._service.make().run(inbox)

        await guard.call_async(run)
