"""The images: which there are, and the building and registering of new ones.

Each build has a directory of its own, so VMs of an older build keep their disks' base.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import trio

from banger.actors import image_orphans
from banger.actors.blocking import run_blocking
from banger.actors.image_builds import Builds
from banger.actors.image_catalog import Catalog
from banger.actors.image_import import ImportImage, ImportWork
from banger.actors.image_reconcile import reconcile
from banger.actors.image_register import RegisterImage, register
from banger.kernel.actor import Actor, Envelope, Inbox, cancelled_when_abandoned
from banger.kernel.bus import Bus
from banger.kernel.message import Request
from banger.kernel.store import RecordStore
from banger.model.build import BuildOptions
from banger.model.image import BuildOutcome, DefaultImage, ImageRecord, ImageView, Pruned
from banger.model.vm import VmRecord


class FindImage(Request[ImageRecord], frozen=True):
    """The newest build of that name; None: of the default. Raises `NotFound`."""

    name: str | None


class DescribeImage(Request[ImageView], frozen=True):
    name: str


class ListImages(Request[list[ImageView]], frozen=True):
    """Sorted by name, with those whose first build is under way."""


class BuildImage(Request[BuildOutcome], frozen=True):
    """Abandoned, it is ended and leaves nothing. Progress goes to the bus."""

    name: str
    recipe: str
    force: bool = False
    options: BuildOptions = BuildOptions()


class CancelBuild(Request[None], frozen=True):
    """When it returns, nothing of the build is left. Raises `NotFound`."""

    name: str


class ReadBuildLog(Request[bytes], frozen=True):
    """Of the running or the last build; ``failed``: of the last that failed."""

    name: str
    failed: bool


class DeleteImage(Request[None], frozen=True):
    """Raises `Conflict` while VMs use it."""

    name: str


class RenameImage(Request[ImageView], frozen=True):
    name: str
    new: str


class GetDefault(Request[DefaultImage], frozen=True):
    pass


class SetDefault(Request[DefaultImage], frozen=True):
    """None: what the setting says."""

    name: str | None


class PruneImages(Request[Pruned], frozen=True):
    dry_run: bool


class Images(Actor):
    name = "images"

    def __init__(
        self,
        store: RecordStore[ImageRecord],
        bus: Bus,
        *,
        vms: Callable[[], Iterable[VmRecord]],
        find_builder: Callable[[str], Path],
        environment: Mapping[str, str],
        state: Path,
        preset: str,
    ) -> None:
        """``vms()`` reads the records of all VMs; ``find_builder`` knows the recipes, which run
        with ``environment`` added to the daemon's own; ``state`` is the state directory, and
        ``preset`` the default image where none was chosen by command."""
        self._store = store
        self._catalog = Catalog(store, vms=vms, state=state, preset=preset)
        self._builds = Builds(
            self._catalog, bus, find_builder=find_builder, environment=environment, logs=state
        )

    async def run(self, inbox: Inbox) -> None:
        await run_blocking(self._sweep)
        async with trio.open_nursery() as nursery:
            async for envelope in inbox:
                nursery.start_soon(self._answer, envelope)

    async def _answer(self, envelope: Envelope[Any]) -> None:
        catalog, builds = self._catalog, self._builds
        with envelope:
            match envelope.request:
                case FindImage(name):
                    envelope.reply(await run_blocking(catalog.find, name))
                case DescribeImage(name):
                    envelope.reply(await self._describe(name))
                case ListImages():
                    envelope.reply(await run_blocking(catalog.views, builds.running))
                case BuildImage() as order:
                    await self._build(order, envelope)
                case ImportImage() as request:
                    await self._import(request, envelope)
                case CancelBuild(name):
                    await builds.cancel(name)
                    envelope.reply(None)
                case ReadBuildLog(name, failed):
                    envelope.reply(await run_blocking(builds.log_of(name, failed=failed)))
                case RegisterImage() as request:
                    builds.refuse_while_building(request.name)
                    envelope.reply(await run_blocking(register, catalog, request))
                case DeleteImage(name):
                    builds.refuse_while_building(name)
                    envelope.reply(await run_blocking(catalog.delete, name))
                case RenameImage(name, new):
                    builds.refuse_while_building(name, new)
                    record = await run_blocking(catalog.rename, name, new)
                    envelope.reply(await run_blocking(catalog.view, record))
                case GetDefault():
                    envelope.reply(await run_blocking(catalog.default))
                case SetDefault(name):
                    envelope.reply(await run_blocking(catalog.set_default, name))
                case PruneImages(dry_run):
                    envelope.reply(await run_blocking(lambda: catalog.prune(dry_run=dry_run)))
                case request:
                    raise AssertionError(request)

    async def _describe(self, name: str) -> ImageView:
        building = self._builds.running.get(name)
        if building is not None:
            views = await run_blocking(self._catalog.views, {name: building})
            return next(view for view in views if view.name == name)
        return await run_blocking(lambda: self._catalog.view(self._catalog.find(name)))

    async def _build(self, order: BuildImage, envelope: Envelope[BuildOutcome]) -> None:
        outcome: BuildOutcome | None = None
        async with cancelled_when_abandoned(envelope):
            outcome = await self._builds.build(
                order.name, order.recipe, force=order.force, options=order.options
            )
        if outcome is not None:
            envelope.reply(outcome)

    async def _import(self, request: ImportImage, envelope: Envelope[BuildOutcome]) -> None:
        outcome: BuildOutcome | None = None
        async with cancelled_when_abandoned(envelope):
            work = await run_blocking(ImportWork, self._catalog, request.order)
            outcome = await self._builds.do(request.name, work, force=request.force)
        if outcome is not None:
            envelope.reply(outcome)

    def _sweep(self) -> None:
        """What builds and deletions left that a crash ended, and what is of a former version."""
        self._store.sweep()
        self._catalog.put_back()
        image_orphans.sweep(self._store.root)
        reconcile(self._catalog)
