"""``vm fork``: new VMs that go on from where one is."""

from __future__ import annotations

import secrets
from contextlib import suppress

import trio

from banger.actors import fleet, vm_requests
from banger.actors.blocking import run_blocking
from banger.actors.snapshot_store import fork_store
from banger.api.backend import Backend
from banger.api.doctor import refuse_unless_ready
from banger.api.snapshots import begun_in
from banger.host.ram_file import RamFile
from banger.kernel.errors import BangerError, Conflict, UsageError
from banger.kernel.rpc import CallContext
from banger.model.requests import forks as requests
from banger.model.vm import Verb, VmView


async def fork(
    backend: Backend, request: requests.ForkVm, context: CallContext
) -> requests.ForkOutcome:
    """All of them or none: what was made is deleted when one fails or the client goes away."""
    if len(set(request.new)) != len(request.new):
        raise UsageError("a name was given twice")
    await refuse_unless_ready(backend, Verb.START)
    ref = await backend.vm(request.name)
    # Before the VM is stopped for them.
    taken = {view.name for view in await backend.fleet.ask(fleet.ListVms())} & {*request.new}
    if taken:
        raise Conflict(f"VM {min(taken)!r} exists already", hint="choose another name")
    store, key = fork_store(backend.doctor.paths), secrets.token_hex(8)
    ram: RamFile | None = None
    try:
        frozen = await ref.ask(vm_requests.Snapshot(key, store, brief=True))
        ram = frozen.ram
        origin = fleet.Snapshotted(frozen.record, store.directory(key), ram.path if ram else None)
        vms = await _create_all(backend, [begun_in(origin, name) for name in request.new])
    finally:
        if ram is not None:
            ram.close()
        with trio.CancelScope(shield=True):
            await run_blocking(store.delete, key)
    return requests.ForkOutcome(vms, frozen.record.paused_ms)


async def _create_all(backend: Backend, orders: list[fleet.CreateVm]) -> list[VmView]:
    made: dict[str, VmView] = {}

    async def create(order: fleet.CreateVm) -> None:
        made[order.name] = await backend.fleet.ask(order)

    try:
        async with trio.open_nursery() as nursery:
            for order in orders:
                nursery.start_soon(create, order)
    except BaseException:
        with trio.CancelScope(shield=True):
            for name, view in made.items():
                with suppress(BangerError):
                    await _delete(backend, name, view.id)
        raise
    return [made[order.name] for order in orders]


async def _delete(backend: Backend, name: str, machine_id: str) -> None:
    """That VM; another of the same name is not ours."""
    ref = await backend.vm(name)
    if (await ref.ask(vm_requests.GetRecord())).id == machine_id:
        await backend.fleet.ask(fleet.EndVm(ref))
