"""What the handlers work on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

import trio

from banger.actors import vm_requests
from banger.actors.event_ring import EventRing
from banger.actors.fleet import FindVm
from banger.capabilities.registry import Registry
from banger.doctor.context import DoctorContext
from banger.guest.link import AgentLink
from banger.host.keys import InstallationKey
from banger.kernel.actor import Ref
from banger.kernel.bus import Bus
from banger.kernel.message import Event
from banger.kernel.rpc import CallContext
from banger.model.settings import Settings

R = TypeVar("R")

FLUSH_DEADLINE_S = 1.0


@dataclass
class Backend:
    fleet: Ref
    images: Ref
    taps: Ref
    seeds: Ref
    standby: Ref
    capabilities: Registry
    doctor: DoctorContext
    bus: Bus
    events: EventRing
    settings: Settings
    socket: str
    key: InstallationKey
    keys: Ref
    accelerator: Callable[[], str | None]
    """"kvm" or "tcg"; None while nobody has asked for a machine yet."""
    testing: bool
    stop: trio.Event
    """Set when the daemon is to stop."""
    started: float = field(default_factory=trio.current_time)

    async def vm(self, name: str) -> Ref:
        return await self.fleet.ask(FindVm(name))

    async def link(self, name: str) -> AgentLink:
        """The channels to a running VM's agent. Raises `NotFound`, `IllegalState`."""
        return await (await self.vm(name)).ask(vm_requests.GetLink())

    async def with_progress(
        self,
        context: CallContext,
        wanted: Callable[[Event], bool],
        work: Callable[[], Awaitable[R]],
    ) -> R:
        """Do the work; send the wanted events that happen meanwhile to the client."""
        with self.bus.subscribe() as events:

            async def forward() -> None:
                async for event in events:
                    if wanted(event):
                        await context.send(event)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(forward)
                try:
                    result = await work()
                finally:
                    nursery.cancel_scope.cancel()
                    with trio.move_on_after(FLUSH_DEADLINE_S) as flush:
                        flush.shield = True
                        for event in filter(wanted, events.pending()):
                            await context.send(event)
        return result
