"""The warm seeds: which there are, the making of new ones, and their memory while it is used.

A create asks for a seed and goes on cold when there is none: then one is made in the
background, for the next. Nothing here ever fails a create.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import trio

from banger.actors.blocking import run_blocking
from banger.actors.seed_floor import measure_floor
from banger.actors.seed_making import SeedMaker, template_plan
from banger.actors.seed_shelf import Shelf
from banger.host.image_files import ImageFiles, image_store
from banger.host.paths import Paths
from banger.host.ram_file import RamFile
from banger.host.seed_files import SeedFiles, seed_key, state_digest
from banger.kernel.actor import Actor, Envelope, Inbox, cancelled_when_abandoned
from banger.kernel.bus import Bus
from banger.kernel.errors import BangerError, CorruptRecord, HostNotReady
from banger.kernel.message import Request
from banger.model.events import SeedDropped, SeedMade, SeedProgress
from banger.model.image import ImageRecord
from banger.model.seed import PrunedSeed, SeedFloor, SeedOrder, SeedRecord, SeedView
from banger.model.sizes import MIB
from banger.vmm.base import Vmm

log = logging.getLogger(__name__)

LOADED_S = 600.0
"""How long the memory of a seed that nobody begins in stays in the host's."""
_HOUSEKEEPING_S = 60.0
_NOWHERE = Path("/")


class Seed(msgspec.Struct, frozen=True):
    """What a VM needs to begin in a seed. ``ram`` is good within this process, for some minutes."""

    id: str
    files: SeedFiles
    ram: Path
    work_bytes: int


class FoundSeed(msgspec.Struct, frozen=True):
    """``reason`` tells why there is none."""

    seed: Seed | None
    reason: str = ""


class FindSeed(Request[FoundSeed], frozen=True):
    order: SeedOrder


class WantSeed(Request[None], frozen=True):
    """There should be one of these, but nobody waits for it."""

    order: SeedOrder


class MakeSeed(Request[SeedView], frozen=True):
    """Abandoned, it is given up. One that is there is not made anew."""

    order: SeedOrder


class MeasureSeed(Request[SeedFloor], frozen=True):
    """How fast VMs could begin in it; it is made when there is none."""

    order: SeedOrder


class DropSeed(Request[None], frozen=True):
    """It did not do what it is for."""

    id: str
    reason: str


class ListSeeds(Request[list[SeedView]], frozen=True):
    """Of one image, or all; sorted by image and shape."""

    image_id: str | None = None


class PruneSeeds(Request[list[PrunedSeed]], frozen=True):
    dry_run: bool = False


class _Loaded:
    def __init__(self, ram: RamFile) -> None:
        self.ram = ram
        self.used_at = trio.current_time()


class Seeds(Actor):
    name = "seeds"

    def __init__(
        self,
        shelf: Shelf,
        driver: Vmm,
        paths: Paths,
        bus: Bus,
        *,
        work_bytes: int,
        enabled: bool,
    ) -> None:
        """``work_bytes`` is the size that most work disks have; ``enabled``: make seeds, and
        begin VMs in them, without being told to."""
        self._shelf = shelf
        self._driver = driver
        self._paths = paths
        self._bus = bus
        self._enabled = enabled
        self._maker = SeedMaker(shelf.store, driver, paths, work_bytes=work_bytes)
        self._images = image_store(paths.images)
        self._loaded: dict[str, _Loaded] = {}
        self._loading = trio.Lock()
        self._making = trio.Lock()
        self._failed: set[str] = set()
        """Keys that nothing came of; they are not tried again unasked."""

    async def run(self, inbox: Inbox) -> None:
        try:
            await self._maker.sweep()
            await run_blocking(self._shelf.sweep)
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._keep_house)
                async for envelope in inbox:
                    nursery.start_soon(self._answer, envelope)
        finally:
            for loaded in self._loaded.values():
                loaded.ram.close()
            self._loaded.clear()

    async def _answer(self, envelope: Envelope[Any]) -> None:
        with envelope:
            match envelope.request:
                case FindSeed(order):
                    envelope.reply(await self._find(order))
                case WantSeed(order):
                    self._nursery.start_soon(self._make_unasked, order)
                    envelope.reply(None)
                case MakeSeed(order):
                    await self._make_asked(order, envelope)
                case MeasureSeed(order):
                    await self._measure(order, envelope)
                case DropSeed(seed_id, reason):
                    await self._drop(seed_id, reason)
                    envelope.reply(None)
                case ListSeeds(image_id):
                    envelope.reply(await self._views(image_id))
                case PruneSeeds(dry_run):
                    envelope.reply(await self._prune(dry_run=dry_run))
                case request:
                    raise AssertionError(request)

    # --- finding ---

    async def _find(self, order: SeedOrder) -> FoundSeed:
        if not self._enabled:
            return FoundSeed(None, "warm seeds are off")
        if not self._driver.traits.saves:
            return FoundSeed(None, f"driver {self._driver.name!r} saves no machines")
        try:
            _, key = await self._key(order)
            seed = await run_blocking(self._shelf.find, key)
        except (OSError, BangerError) as error:
            return FoundSeed(None, f"no seed: {error}")
        if seed is None:
            return FoundSeed(None, "no seed of this image and shape yet")
        try:
            loaded = await self._load(seed)
        except (OSError, BangerError) as error:
            await self._drop(seed.id, str(error))
            return FoundSeed(None, f"its seed was dropped: {error}")
        await run_blocking(self._shelf.note_use, seed)
        return FoundSeed(Seed(seed.id, self._shelf.files(seed), loaded.ram.path, seed.work_bytes))

    async def _load(self, seed: SeedRecord) -> _Loaded:
        async with self._loading:
            if seed.id not in self._loaded:
                self._loaded[seed.id] = _Loaded(await run_blocking(self._checked, seed))
            loaded = self._loaded[seed.id]
            loaded.used_at = trio.current_time()
            return loaded

    def _checked(self, seed: SeedRecord) -> RamFile:
        files = self._shelf.files(seed)
        if state_digest(files.state) != seed.state_digest:
            raise CorruptRecord(f"{files.state} is not what was written there")
        size = seed.order.memory_mib * MIB
        return RamFile.load(files.ram, size_bytes=size, digest=seed.ram_digest)

    async def _key(self, order: SeedOrder) -> tuple[ImageRecord, str]:
        """What the order comes to today. Raises OSError, BangerError."""
        image = await run_blocking(self._image, order.image_id)
        files = ImageFiles.of(self._paths.images / image.id, image.registered)
        plan = template_plan(
            order, files, machine_id="0" * 32, directory=_NOWHERE, runtime=_NOWHERE, ram=None
        )
        likeness = await self._driver.likeness(plan)
        return image, await run_blocking(seed_key, order, files, likeness)

    def _image(self, image_id: str) -> ImageRecord:
        try:
            return self._images.load(image_id)
        except FileNotFoundError:
            raise HostNotReady(f"the image {image_id} is gone") from None

    # --- making ---

    async def _make_unasked(self, order: SeedOrder) -> None:
        if not self._enabled or not self._driver.traits.saves:
            return
        key = ""
        try:
            _, key = await self._key(order)
            if key not in self._failed:
                await self._make(order)
        except (OSError, BangerError) as error:
            self._failed.add(key)
            log.warning("no warm seed of %s: %s", order.image_id, error)

    async def _make_asked(self, order: SeedOrder, envelope: Envelope[SeedView]) -> None:
        view: SeedView | None = None
        if not self._driver.traits.saves:
            raise HostNotReady(f"driver {self._driver.name!r} saves no machines")
        async with cancelled_when_abandoned(envelope):
            try:
                seed = await self._make(order)
                view = (await self._views(None, only=seed.id))[0]
            except OSError as error:
                raise HostNotReady(f"no seed could be made: {error}") from None
        if view is not None:
            envelope.reply(view)

    async def _make(self, order: SeedOrder) -> SeedRecord:
        _, key = await self._key(order)
        if (seed := await run_blocking(self._shelf.find, key)) is not None:
            return seed
        async with self._making:
            # When it is our turn: meanwhile another one may have been made, or things changed.
            image, key = await self._key(order)
            if (seed := await run_blocking(self._shelf.find, key)) is not None:
                return seed
            begun = trio.current_time()
            tell = functools.partial(self._tell, image.name)
            seed = await self._maker.make(order, image, key, tell)
            self._failed.discard(key)
            duration_ms = (trio.current_time() - begun) * 1000
            log.info("made the warm seed %s of %s", seed.id, image.name)
            self._bus.publish(SeedMade(image.name, seed.id, duration_ms))
        await self._prune(dry_run=False)
        return seed

    def _tell(self, image: str, step: str) -> None:
        self._bus.publish(SeedProgress(image, step))

    async def _measure(self, order: SeedOrder, envelope: Envelope[SeedFloor]) -> None:
        floor: SeedFloor | None = None
        async with cancelled_when_abandoned(envelope):
            seed = await self._make(order)
            image = await run_blocking(self._image, order.image_id)
            floor = await measure_floor(
                self._driver,
                self._paths,
                seed,
                ImageFiles.of(self._paths.images / image.id, image.registered),
                self._shelf.files(seed),
                (await self._load(seed)).ram.path,
            )
        if floor is not None:
            envelope.reply(floor)

    # --- dropping ---

    async def _drop(self, seed_id: str, reason: str) -> None:
        for seed in await run_blocking(self._shelf.records):
            if seed.id == seed_id and await run_blocking(self._shelf.is_whole, seed):
                log.warning("the warm seed %s is dropped: %s", seed_id, reason)
                await run_blocking(self._shelf.retire, seed)
                self._bus.publish(SeedDropped(seed.image, seed_id, reason))
        self._unload(seed_id)

    async def _prune(self, *, dry_run: bool) -> list[PrunedSeed]:
        keys = await self._keys()
        pruned = await run_blocking(
            lambda: self._shelf.prune(lambda seed: keys.get(seed.id, seed.key), dry_run=dry_run)
        )
        if not dry_run:
            for seed in pruned:
                self._unload(seed.id)
        return pruned

    async def _keys(self) -> dict[str, str]:
        """What the orders of the seeds come to today, by the seeds' ids."""
        keys = {}
        for seed in await run_blocking(self._shelf.records):
            try:
                _, keys[seed.id] = await self._key(seed.order)
            except (OSError, BangerError) as error:
                # Only what is surely of no use is told as such: no passing trouble costs a seed.
                if (self._paths.images / seed.order.image_id).exists():
                    keys[seed.id] = seed.key
                    log.warning("can't tell if the warm seed %s is stale: %s", seed.id, error)
                else:
                    keys[seed.id] = ""
        return keys

    async def _views(self, image_id: str | None, *, only: str = "") -> list[SeedView]:
        keys = await self._keys()
        views = []
        for seed in await run_blocking(self._shelf.records):
            if image_id in (None, seed.order.image_id) and only in ("", seed.id):
                size = self._loaded[seed.id].ram.allocated_bytes if seed.id in self._loaded else 0
                key_of: Callable[[SeedRecord], str] = lambda s: keys.get(s.id, s.key)  # noqa: E731
                views.append(await run_blocking(self._shelf.view, seed, key_of, size))
        return sorted(views, key=lambda view: (view.image, view.vcpus, view.memory_mib))

    # --- memory ---

    async def _keep_house(self) -> None:
        await self._prune(dry_run=False)
        while True:
            await trio.sleep(_HOUSEKEEPING_S)
            for seed_id, loaded in [*self._loaded.items()]:
                if trio.current_time() - loaded.used_at > LOADED_S:
                    self._unload(seed_id)

    def _unload(self, seed_id: str) -> None:
        """VMs that have begun in it keep its memory as long as they run."""
        loaded = self._loaded.pop(seed_id, None)
        if loaded is not None:
            loaded.ram.close()
