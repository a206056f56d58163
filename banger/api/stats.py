"""What VMs use: counters of the host at once, those of guests as far as they answer."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress

import msgspec
import trio

from banger.actors import fleet, vm_requests
from banger.actors.blocking import run_blocking
from banger.api.backend import Backend
from banger.guest import agent
from banger.host.link_usage import read_traffic
from banger.host.process_usage import read_usage
from banger.kernel.errors import ActorStopped, BangerError, NotFound
from banger.kernel.rpc import CallContext
from banger.model.process import ProcessIdentity
from banger.model.requests.stats import ReadStats
from banger.model.sizes import MIB
from banger.model.stats import GuestUsage, NetworkUsage, VmmUsage, VmStats
from banger.model.vm import VmRecord, VmState, VmView

GUEST_DEADLINE_S = 2.0
GUESTS_AT_ONCE = 32


async def read(backend: Backend, request: ReadStats, context: CallContext) -> list[VmStats]:
    views = await _views(backend, request.names)
    found = {view.name: view for view in views}
    guests: dict[str, GuestUsage | str] = {}
    limiter = trio.CapacityLimiter(GUESTS_AT_ONCE)

    async def ask_guest(name: str) -> None:
        async with limiter:
            guests[name] = await _guest(backend, name)

    identities = await _identities(backend, [view.name for view in views if view.pid is not None])
    host: dict[str, Sample] = {}
    async with trio.open_nursery() as nursery:
        if request.guests:
            for name in found:
                if found[name].state is VmState.RUNNING:
                    nursery.start_soon(ask_guest, name)
        host = await run_blocking(_host, views, identities)
    return [_stats(view, host[view.name], guests.get(view.name, "")) for view in views]


class Sample(msgspec.Struct, frozen=True):
    """What the host knows of one VM at one moment."""

    at_s: float
    vmm: VmmUsage | None
    network: NetworkUsage | None


async def _views(backend: Backend, names: Sequence[str]) -> list[VmView]:
    if not names:
        return await backend.fleet.ask(fleet.ListVms())
    views: list[VmView] = []
    for name in dict.fromkeys(names):
        with suppress(NotFound, ActorStopped):  # it has just been deleted
            views.append(await (await backend.vm(name)).ask(vm_requests.Describe()))
    return views


async def _identities(backend: Backend, names: Sequence[str]) -> dict[str, ProcessIdentity]:
    """Of the VMMs. One that has ended meanwhile has none."""
    found: dict[str, ProcessIdentity] = {}
    for name in names:
        try:
            record: VmRecord = await (await backend.vm(name)).ask(vm_requests.GetRecord())
        except BangerError:
            continue
        if record.process is not None:
            found[name] = record.process
    return found


def _host(views: Sequence[VmView], identities: dict[str, ProcessIdentity]) -> dict[str, Sample]:
    traffic = read_traffic() if any(view.tap for view in views) else {}
    return {view.name: _sample(view, identities.get(view.name), traffic) for view in views}


def _sample(
    view: VmView, identity: ProcessIdentity | None, traffic: dict[str, NetworkUsage]
) -> Sample:
    return Sample(
        at_s=time.monotonic(),
        vmm=None if identity is None else read_usage(identity),
        network=traffic.get(view.tap or ""),
    )


async def _guest(backend: Backend, name: str) -> GuestUsage | str:
    """Or why there is none."""
    with trio.move_on_after(GUEST_DEADLINE_S):
        try:
            return await agent.stats(await backend.link(name))
        except BangerError as error:
            return error.message
    return f"its agent does not answer within {GUEST_DEADLINE_S:g} s"


def _stats(view: VmView, host: Sample, guest: GuestUsage | str) -> VmStats:
    return VmStats(
        name=view.name,
        state=view.state,
        at_s=host.at_s,
        vcpus=view.vcpus,
        memory_bytes=view.memory_mib * MIB,
        disk_bytes=view.disk_bytes,
        disk_allocated_bytes=view.disk_allocated_bytes,
        vmm=host.vmm,
        network=host.network,
        guest=guest if isinstance(guest, GuestUsage) else None,
        guest_problem=guest if isinstance(guest, str) else "",
    )
