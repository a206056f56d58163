"""Warm seeds: made when asked for, listed and pruned with their images."""

from __future__ import annotations

import msgspec

from banger.actors import seeds, standby
from banger.actors.blocking import run_blocking
from banger.actors.images import FindImage
from banger.api.backend import Backend
from banger.capabilities.builtin.work import SERIAL
from banger.host import work_seed
from banger.kernel.errors import UsageError
from banger.kernel.rpc import CallContext
from banger.model.events import SeedProgress
from banger.model.image import ImageInit, ImageRecord
from banger.model.requests import seeds as requests
from banger.model.seed import SeedFloor, SeedOrder, SeedView


async def warm(backend: Backend, request: requests.WarmImage, context: CallContext) -> SeedView:
    """For VMs of this shape that are created without options of capabilities."""
    image: ImageRecord = await backend.images.ask(FindImage(request.name))
    order = await _order(backend, image, request.vcpus, request.memory_mib)
    return await backend.with_progress(
        context,
        lambda event: isinstance(event, SeedProgress) and event.image == image.name,
        lambda: backend.seeds.ask(seeds.MakeSeed(order)),
    )


async def measure(
    backend: Backend, request: requests.MeasureFloor, context: CallContext
) -> SeedFloor:
    image: ImageRecord = await backend.images.ask(FindImage(request.name))
    return await backend.seeds.ask(seeds.MeasureSeed(await _order(backend, image, None, None)))


async def await_standby(
    backend: Backend, request: requests.AwaitStandby, context: CallContext
) -> int:
    return await backend.standby.ask(standby.AwaitStandby())


async def _order(
    backend: Backend, image: ImageRecord, vcpus: int | None, memory_mib: int | None
) -> SeedOrder:
    order = SeedOrder(
        image_id=image.id,
        vcpus=_number(backend, "vm.vcpus", vcpus),
        memory_mib=_number(backend, "vm.memory_mib", memory_mib),
        kernel_arguments=("banger.init=agent",) if image.init is ImageInit.AGENT else (),
        drives=await _drives(backend, image),
    )
    try:
        return msgspec.convert(msgspec.to_builtins(order), SeedOrder)
    except msgspec.ValidationError as error:
        raise UsageError(f"no VM can have that shape: {error}") from None


def _number(backend: Backend, setting: str, given: int | None) -> int:
    return backend.settings.number(setting) if given is None else given


async def _drives(backend: Backend, image: ImageRecord) -> tuple[str, ...]:
    if not backend.capabilities.decide({}).get("work", {}).get("enabled"):
        return ()
    directory = backend.doctor.paths.images / image.id
    if await run_blocking(work_seed.find_seed, directory) is None:
        await run_blocking(work_seed.make_seed, directory)
    return (SERIAL,)
