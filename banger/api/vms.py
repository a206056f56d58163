"""VMs: create, list, start, stop, wait, delete."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import aclosing, suppress

import msgspec
import trio

from banger.actors import fleet, vm_requests
from banger.actors.blocking import run_blocking
from banger.actors.images import FindImage
from banger.actors.keys import AssureKey
from banger.api.backend import Backend
from banger.api.doctor import refuse_unless_ready
from banger.api.snapshots import begun_in, find_snapshot
from banger.capabilities.builtin.ssh import host_key
from banger.guest import agent
from banger.guest.exec import capture
from banger.host import keys
from banger.kernel.errors import (
    BangerError,
    Conflict,
    ConnectionLost,
    IllegalState,
    TimedOut,
    UsageError,
)
from banger.kernel.message import Event, Lost
from banger.kernel.rpc import CallContext
from banger.model.image import ImageRecord
from banger.model.lifetime import Lifetime
from banger.model.requests import vms as requests
from banger.model.requests.exec import Exec, Output
from banger.model.requests.guests import (
    GetHealth,
    GetSshAccess,
    GuestHealth,
    ReadConsole,
    SshAccess,
)
from banger.model.sizes import parse_size, show_size
from banger.model.vm import AT_REST, DISK_BYTES_MIN, Verb, VmSpec, VmState, VmView

HEALTH_DEADLINE_S = 10.0
PROBE_PAUSE_S = 0.3
OUTPUT_BYTES = 64 << 10
SYSTEM_STAGE = "system"
"""Of the agent's health, once the guest's own init was started."""


def _of(name: str) -> Callable[[Event], bool]:
    return lambda event: getattr(event, "vm", None) == name


async def create(
    backend: Backend,
    request: requests.CreateVm,
    context: CallContext,
    *,
    lifetime: Lifetime | None = None,
) -> VmView:
    """``lifetime``: what the request's is a change of."""
    if request.fault is not None and not backend.testing:
        raise UsageError("faults are injected only into a daemon started for tests")
    if request.start:
        await refuse_unless_ready(backend, Verb.START)
    elif request.lifetime.remove is True:
        raise UsageError("a VM that is not started can't be deleted as soon as it has stopped")
    wanted = _from_image if request.snapshot is None else _from_snapshot
    order = msgspec.structs.replace(
        await wanted(backend, request),
        lifetime=request.lifetime.apply(lifetime or Lifetime(), time.time()),
    )
    if order.name:
        return await _create(backend, order, context)
    while True:
        name = await backend.fleet.ask(fleet.PickName())
        with suppress(Conflict):  # somebody took the name just now; another one is free
            return await _create(backend, msgspec.structs.replace(order, name=name), context)


async def _from_image(backend: Backend, request: requests.CreateVm) -> fleet.CreateVm:
    image = await backend.images.ask(FindImage(request.image))
    spec = VmSpec(
        image=image.name,
        vcpus=request.vcpus or backend.settings.number("vm.vcpus"),
        memory_mib=request.memory_mib or backend.settings.number("vm.memory_mib"),
        disk_bytes=_disk_bytes(backend, request, image),
    )
    _check_spec(spec)
    return fleet.CreateVm(
        name=request.name or "",
        spec=spec,
        image_id=image.id,
        start=request.start,
        labels=request.labels,
        options=backend.capabilities.decide(request.options),
        begin=request.begin,
        fault=request.fault,
    )


async def _from_snapshot(backend: Backend, request: requests.CreateVm) -> fleet.CreateVm:
    assert request.snapshot is not None
    if (request.image, request.vcpus, request.memory_mib, request.disk_bytes) != (None,) * 4:
        raise UsageError("image and shape of a VM from a snapshot are those of the snapshot")
    if not request.start:
        raise UsageError("a VM from a snapshot runs: it can't be left stopped")
    order = begun_in(
        await find_snapshot(backend, request.snapshot.vm, request.snapshot.name),
        request.name or "",
        fault=request.fault,
    )
    options = backend.capabilities.change(order.options, request.options)
    return msgspec.structs.replace(order, labels=request.labels, options=options)


async def _create(backend: Backend, order: fleet.CreateVm, context: CallContext) -> VmView:
    return await backend.with_progress(context, _of(order.name), lambda: backend.fleet.ask(order))


def _check_spec(spec: VmSpec) -> None:
    """What settings and image added to the request was not checked with it."""
    try:
        msgspec.convert(msgspec.to_builtins(spec), VmSpec)
    except msgspec.ValidationError as error:
        raise UsageError(
            f"no VM can have that shape: {error}", hint="see the settings vm.* and their limits"
        ) from None


def _disk_bytes(backend: Backend, request: requests.CreateVm, image: ImageRecord) -> int:
    size = request.disk_bytes
    if size is None:
        default = backend.settings.text("vm.disk")
        # An image may be smaller than the least disk of a VM.
        least = max(image.root_bytes, DISK_BYTES_MIN)
        size = least if default == "image" else parse_size(default)
    if size < image.root_bytes:
        raise UsageError(
            f"a disk of {show_size(size)} is smaller than image {image.name!r}, "
            f"which has {show_size(image.root_bytes)}",
            hint="a disk can be larger than its image, never smaller",
        )
    return _whole_pages(size)


def _whole_pages(size: int) -> int:
    return -(-size // 4096) * 4096


async def list_all(
    backend: Backend, request: requests.ListVms, context: CallContext
) -> list[VmView]:
    return await backend.fleet.ask(fleet.ListVms())


async def show(backend: Backend, request: requests.ShowVm, context: CallContext) -> VmView:
    return await (await backend.vm(request.name)).ask(vm_requests.Describe())


async def start(backend: Backend, request: requests.StartVm, context: CallContext) -> VmView:
    if request.fault is not None and not backend.testing:
        raise UsageError("faults are injected only into a daemon started for tests")
    ref = await backend.vm(request.name)
    await refuse_unless_ready(backend, Verb.START)
    return await backend.with_progress(
        context, _of(request.name), lambda: ref.ask(vm_requests.Start(request.fault))
    )


async def stop(backend: Backend, request: requests.StopVm, context: CallContext) -> VmView:
    ref = await backend.vm(request.name)
    if request.suspend:
        if request.force:
            raise UsageError("a VM can't be suspended by force")
        return await ref.ask(vm_requests.Suspend())
    view = await ref.ask(vm_requests.Stop(force=request.force))
    if view.lifetime.rm:
        await backend.fleet.ask(fleet.AwaitGone(ref))
    return view


async def restart(backend: Backend, request: requests.RestartVm, context: CallContext) -> VmView:
    ref = await backend.vm(request.name)
    return await backend.with_progress(
        context, _of(request.name), lambda: ref.ask(vm_requests.Restart())
    )


async def pause(backend: Backend, request: requests.PauseVm, context: CallContext) -> VmView:
    return await (await backend.vm(request.name)).ask(vm_requests.Pause())


async def resume(backend: Backend, request: requests.ResumeVm, context: CallContext) -> VmView:
    return await (await backend.vm(request.name)).ask(vm_requests.Resume())


async def change(backend: Backend, request: requests.SetVm, context: CallContext) -> VmView:
    ref = await backend.vm(request.name)
    size = request.disk_bytes
    wanted = {
        "vcpus": request.vcpus,
        "memory_mib": request.memory_mib,
        "disk_bytes": None if size is None else _whole_pages(size),
    }
    shape = {field: value for field, value in wanted.items() if value is not None}
    order = vm_requests.Change(shape, request.labels, request.options, request.lifetime)
    return await backend.with_progress(context, _of(request.name), lambda: ref.ask(order))


async def delete(backend: Backend, request: requests.DeleteVm, context: CallContext) -> None:
    await backend.fleet.ask(fleet.DeleteVm(request.name))


async def wait(backend: Backend, request: requests.WaitVm, context: CallContext) -> VmView:
    with trio.move_on_after(request.timeout_s):
        return await _wait(backend, request.name, request.condition)
    raise TimedOut(
        f"VM {request.name!r} is not {request.condition} after {request.timeout_s:g} s",
        hint="'banger vm show' tells its state",
    )


async def _wait(backend: Backend, name: str, condition: requests.WaitCondition) -> VmView:
    # Subscribed before the first look, so no change can fall in between.
    with backend.bus.subscribe() as events:
        ref = await backend.vm(name)
        while True:
            view = await ref.ask(vm_requests.Describe())
            match condition, view.state:
                case requests.WaitCondition.STOPPED, state if state in AT_REST:
                    return view
                case _, state if state in AT_REST:
                    raise IllegalState(
                        f"VM {name!r} is {state} and will not run by itself",
                        hint=f"'banger vm start {name}'",
                    )
                case requests.WaitCondition.RUNNING, VmState.RUNNING:
                    return view
                case probed, VmState.RUNNING if probed is not requests.WaitCondition.STOPPED:
                    # A guest that reboots, or a VM that is being stopped, does not answer.
                    with suppress(ConnectionLost, TimedOut, IllegalState):
                        if await _PROBES[probed](backend, name):
                            return view
                    # The guest tells of nothing by itself; asking its agent is cheap.
                    await trio.sleep(PROBE_PAUSE_S)
                    continue
            async for event in events:
                if isinstance(event, Lost) or getattr(event, "vm", None) == name:
                    break


async def health(backend: Backend, request: GetHealth, context: CallContext) -> GuestHealth:
    return await _health(backend, request.name)


async def _health(backend: Backend, name: str) -> GuestHealth:
    link = await backend.link(name)
    with trio.move_on_after(HEALTH_DEADLINE_S):
        return await agent.health(link)
    raise TimedOut(f"the agent of VM {name!r} does not answer", hint="see 'banger vm logs'")


async def _answers_ssh(backend: Backend, name: str) -> bool:
    return (await _health(backend, name)).ssh


async def _is_up(backend: Backend, name: str) -> bool:
    return (await _health(backend, name)).stage == SYSTEM_STAGE


async def _runs_commands(backend: Backend, name: str) -> bool:
    with trio.move_on_after(HEALTH_DEADLINE_S):
        link = await backend.link(name)
        ended, _, _ = await capture(link, Exec(name, ["true"], cwd="/"), limit_bytes=0)
        return ended.code == 0
    return False


_PROBES = {
    requests.WaitCondition.EXEC: _runs_commands,
    requests.WaitCondition.HEALTHY: _is_up,
    requests.WaitCondition.SSH: _answers_ssh,
}


async def ssh_access(backend: Backend, request: GetSshAccess, context: CallContext) -> SshAccess:
    ref = await backend.vm(request.name)
    await ref.ask(vm_requests.GetLink())  # refuses unless it runs
    found = (await ref.ask(vm_requests.Look())).vm
    pair = await run_blocking(keys.read_key, host_key(found.directory))
    public = " ".join(pair.public.split()[:2])
    with suppress(BangerError):  # then ssh may do without
        await backend.keys.ask(AssureKey(request.name))
    return SshAccess("root", found.address, public, backend.key.pair.private)


async def console(backend: Backend, request: ReadConsole, context: CallContext) -> None:
    recorded = await (await backend.vm(request.name)).ask(vm_requests.GetConsole())
    async with aclosing(recorded.read(follow=request.follow, since=request.since)) as chunks:
        async for data in chunks:
            for at in range(0, len(data), OUTPUT_BYTES):
                await context.send(Output(data[at : at + OUTPUT_BYTES]))
