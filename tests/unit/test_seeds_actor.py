"""Finding a warm seed: never an error, always a reason."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio

from banger.actors.seed_making import template_plan
from banger.actors.seed_shelf import Shelf, seed_store
from banger.actors.seeds import DropSeed, FindSeed, ListSeeds, MakeSeed, PruneSeeds, Seeds
from banger.host.image_files import ImageFiles
from banger.host.paths import Paths
from banger.host.ram_file import RamFile
from banger.host.seed_files import seed_key, state_digest
from banger.kernel.actor import Ref
from banger.kernel.bus import Bus, Subscription
from banger.kernel.errors import HostNotReady
from banger.kernel.supervisor import Supervisor
from banger.model.events import SeedDropped
from banger.model.seed import SeedOrder, SeedRecord
from banger.model.sizes import MIB
from tests.unit.nursery import nursery_within
from tests.unit.vm_bench import FakeDriver, guest, put_image

ORDER = SeedOrder("debian-1", 1, 128)

__all__ = ["guest"]


class Bench:
    """An actor over a directory, with one seed in it."""

    def __init__(self, root: Path) -> None:
        self.paths = Paths(config=root, state=root, cache=root, runtime=root / "run")
        self.driver = FakeDriver()
        self.driver.traits = msgspec.structs.replace(self.driver.traits, saves=True)
        self.shelf = Shelf(seed_store(self.paths.seeds), vms=lambda: [])
        self.bus = Bus()
        put_image(self.paths.images / "debian-1")
        self.seed = self._add_seed()
        self.seeds: Ref

    def _add_seed(self) -> SeedRecord:
        image = ImageFiles.of(self.paths.images / "debian-1")
        plan = template_plan(
            ORDER, image, machine_id="0" * 32, directory=Path("/"), runtime=Path("/"), ram=None
        )
        key = seed_key(ORDER, image, trio.run(self.driver.likeness, plan))
        directory = self.shelf.store.directory(f"{key}-1")
        directory.mkdir(parents=True)
        ram = RamFile.of_size(128 * MIB)
        with ram.path.open("r+b") as file:
            file.write(b"what the guest knew")
        digest = ram.store(directory / "ram")
        ram.close()
        (directory / "state").write_bytes(b"how it stood")
        (directory / "root.qcow2").write_bytes(b"its disk")
        seed = SeedRecord(
            f"{key}-1", key, "debian", ORDER, 1.0, digest, state_digest(directory / "state"), 0
        )
        self.shelf.store.save(seed.id, seed)
        return seed


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@asynccontextmanager
async def running(bench: Bench, *, enabled: bool = True) -> AsyncIterator[Subscription]:
    seeds = Seeds(
        bench.shelf, bench.driver, bench.paths, bench.bus, work_bytes=64 * MIB, enabled=enabled
    )
    with bench.bus.subscribe() as events:
        async with nursery_within(20) as nursery:
            bench.seeds = Supervisor(nursery).start("seeds", lambda: seeds).ref
            yield events
            nursery.cancel_scope.cancel()


async def test_a_seed_is_found_with_its_memory(bench: Bench) -> None:
    async with running(bench):
        found = await bench.seeds.ask(FindSeed(ORDER))
        assert found.seed is not None
        assert found.seed.id == bench.seed.id
        assert found.seed.ram.read_bytes()[:19] == b"what the guest knew"
        (view,) = await bench.seeds.ask(ListSeeds("debian-1"))
        assert view.loaded_bytes > 0
        again = await bench.seeds.ask(FindSeed(ORDER))
        assert again == found


async def test_another_shape_has_none(bench: Bench) -> None:
    async with running(bench):
        other = msgspec.structs.replace(ORDER, memory_mib=192)
        found = await bench.seeds.ask(FindSeed(other))
        assert (found.seed, found.reason) == (None, "no seed of this image and shape yet")


@pytest.mark.parametrize("name", ["ram", "state"])
async def test_one_that_was_changed_is_dropped(bench: Bench, name: str) -> None:
    directory = bench.shelf.store.directory(bench.seed.id)
    with (directory / name).open("r+b") as file:
        file.write(b"W")
    async with running(bench) as events:
        found = await bench.seeds.ask(FindSeed(ORDER))
        assert found.seed is None
        assert "is not what was written there" in found.reason
        dropped = [event for event in events.pending() if isinstance(event, SeedDropped)]
        assert [event.seed for event in dropped] == [bench.seed.id]
        assert not directory.exists()


async def test_one_that_did_not_do_is_found_no_more(bench: Bench) -> None:
    async with running(bench):
        await bench.seeds.ask(DropSeed(bench.seed.id, "QEMU did not take it"))
        assert (await bench.seeds.ask(FindSeed(ORDER))).seed is None


async def test_of_a_changed_image_it_is_stale(bench: Bench) -> None:
    (bench.paths.images / "debian-1" / "vmlinux").write_bytes(b"another kernel")
    async with running(bench):
        assert (await bench.seeds.ask(FindSeed(ORDER))).seed is None
        await bench.seeds.ask(PruneSeeds())
        assert await bench.seeds.ask(ListSeeds()) == []


async def test_none_of_an_image_that_is_gone(bench: Bench) -> None:
    async with running(bench):
        gone = msgspec.structs.replace(ORDER, image_id="other-1")
        found = await bench.seeds.ask(FindSeed(gone))
        assert found.reason == "no seed: the image other-1 is gone"


async def test_off_and_a_driver_that_saves_nothing(bench: Bench) -> None:
    async with running(bench, enabled=False):
        assert (await bench.seeds.ask(FindSeed(ORDER))).reason == "warm seeds are off"
    bench.driver.traits = msgspec.structs.replace(bench.driver.traits, saves=False)
    async with running(bench):
        assert "saves no machines" in (await bench.seeds.ask(FindSeed(ORDER))).reason
        with pytest.raises(HostNotReady, match="saves no machines"):
            await bench.seeds.ask(MakeSeed(ORDER))
