"""Images: build, register, list, show, rename, delete, export."""

from __future__ import annotations

import os

import msgspec

from banger.actors import image_export, images
from banger.actors.blocking import run_blocking
from banger.actors.image_import import ImportImage
from banger.actors.image_register import RegisterImage
from banger.actors.seeds import ListSeeds, PruneSeeds
from banger.api.backend import Backend
from banger.host import sparse_tar
from banger.host.tree_import import ImportOrder
from banger.kernel.errors import HostNotReady
from banger.kernel.rpc import CallContext
from banger.model.events import BuildProgress
from banger.model.image import BuildOutcome, DefaultImage, ImageView, Pruned, RegisterOutcome
from banger.model.requests import images as requests
from banger.model.requests.exec import Output
from banger.model.requests.images import ExportSize

OUTPUT_BYTES = 64 << 10


async def list_all(
    backend: Backend, request: requests.ListImages, context: CallContext
) -> list[ImageView]:
    return await backend.images.ask(images.ListImages())


async def show(backend: Backend, request: requests.ShowImage, context: CallContext) -> ImageView:
    view = await backend.images.ask(images.DescribeImage(request.name))
    seeds = await backend.seeds.ask(ListSeeds(view.id)) if view.id else []
    return msgspec.structs.replace(view, seeds=seeds)


async def build(
    backend: Backend, request: requests.BuildImage, context: CallContext
) -> BuildOutcome:
    # They are run as root in the tree, and a chroot is no jail.
    options = request.options
    if options.scripts or options.recipe_file or options.rootfs_tarball:
        _trust(context, "build with scripts, recipes and tarballs of their own")
    order = images.BuildImage(request.name, request.recipe, request.force, request.options)
    return await backend.with_progress(
        context,
        lambda event: isinstance(event, BuildProgress) and event.image == request.name,
        lambda: backend.images.ask(order),
    )


async def cancel(backend: Backend, request: requests.CancelBuild, context: CallContext) -> None:
    await backend.images.ask(images.CancelBuild(request.name))


async def read_log(backend: Backend, request: requests.ReadBuildLog, context: CallContext) -> None:
    said = await backend.images.ask(images.ReadBuildLog(request.name, failed=request.failed))
    for at in range(0, len(said), OUTPUT_BYTES):
        await context.send(Output(said[at : at + OUTPUT_BYTES]))


async def register(
    backend: Backend, request: requests.RegisterImage, context: CallContext
) -> RegisterOutcome:
    # The daemon reads the file with its own rights, and VMs of anybody it serves do.
    _trust(context, "register files of this host")
    order = RegisterImage(
        request.name,
        request.rootfs,
        request.kernel or "",
        request.modules or "",
        request.work_seed or "",
    )
    return await backend.images.ask(order)


async def import_image(
    backend: Backend, request: requests.ImportImage, context: CallContext
) -> BuildOutcome:
    _trust(context, "import files of this host")
    order = ImportOrder(
        request.format,
        request.path,
        request.max_bytes,
        request.size_bytes or 0,
        request.reference,
        request.init,
    )
    return await backend.with_progress(
        context,
        lambda event: isinstance(event, BuildProgress) and event.image == request.name,
        lambda: backend.images.ask(ImportImage(request.name, order, force=request.force)),
    )


async def delete(backend: Backend, request: requests.DeleteImage, context: CallContext) -> None:
    await backend.images.ask(images.DeleteImage(request.name))
    await backend.seeds.ask(PruneSeeds())


async def rename(
    backend: Backend, request: requests.RenameImage, context: CallContext
) -> ImageView:
    return await backend.images.ask(images.RenameImage(request.name, request.new))


async def choose_default(
    backend: Backend, request: requests.ChooseDefaultImage, context: CallContext
) -> DefaultImage:
    if request.clear:
        return await backend.images.ask(images.SetDefault(None))
    if request.name is None:
        return await backend.images.ask(images.GetDefault())
    return await backend.images.ask(images.SetDefault(request.name))


async def prune(backend: Backend, request: requests.PruneImages, context: CallContext) -> Pruned:
    pruned = await backend.images.ask(images.PruneImages(dry_run=request.dry_run))
    # Those of images that are gone now are stale.
    seeds = await backend.seeds.ask(PruneSeeds(dry_run=request.dry_run))
    total = pruned.bytes + sum(seed.bytes for seed in seeds)
    return msgspec.structs.replace(pruned, seeds=seeds, bytes=total)


async def export(
    backend: Backend, request: requests.ExportImage, context: CallContext
) -> ImageView:
    """The files are opened first: the image may be deleted while it is sent."""
    record = await backend.images.ask(images.FindImage(request.name))
    view = await backend.images.ask(images.DescribeImage(request.name))
    with image_export.opened(backend.doctor.paths.images, record) as members:
        await context.send(ExportSize(await run_blocking(sparse_tar.size_of, members)))
        pieces = sparse_tar.archive(members)
        try:
            while (piece := await run_blocking(next, pieces, None)) is not None:
                for at in range(0, len(piece), OUTPUT_BYTES):
                    await context.send(Output(piece[at : at + OUTPUT_BYTES]))
        except OSError as error:
            raise HostNotReady(f"image {request.name!r} can't be read: {error}") from error
    return view


def _trust(context: CallContext, what: str) -> None:
    """Raise `HostNotReady` for those who have the daemon's socket, but not its rights."""
    if context.peer.uid not in (0, os.geteuid()):
        raise HostNotReady(f"only root and the daemon's own user may {what}", hint="use sudo")
