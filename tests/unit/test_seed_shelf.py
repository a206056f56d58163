"""Which seeds are of use, which go, and which have to stay for the disks of VMs."""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec
import pytest

from banger.actors.seed_shelf import UNUSED_S, Shelf, seed_store
from banger.model.seed import SeedOrder, SeedRecord
from banger.model.vm import VmRecord, VmSpec, VmState

ORDER = SeedOrder("debian-1", 1, 256, drives=("work",))
SIZE = 64 << 10


class Bench:
    def __init__(self, root: Path) -> None:
        self.vms: list[VmRecord] = []
        self.shelf = Shelf(seed_store(root), vms=lambda: self.vms)
        self.root = root

    def add(self, seed_id: str, key: str = "key", made_at: float = 1.0) -> SeedRecord:
        seed = SeedRecord(seed_id, key, "debian", ORDER, made_at, "", "", SIZE)
        self.shelf.store.save(seed_id, seed)
        files = self.shelf.files(seed)
        for path in (files.ram, files.state, files.root, files.work, files.work_base):
            path.write_bytes(os.urandom(SIZE))
        return seed

    def use(self, seed_id: str) -> None:
        spec = VmSpec("debian", 1, 256, 64 << 20)
        vm = VmRecord("0" * 32, "box", spec, "debian-1", VmState.RUNNING, 0.0, "", "", "qemu")
        self.vms.append(msgspec.structs.replace(vm, seed=seed_id))

    @property
    def there(self) -> list[str]:
        return sorted(path.name for path in self.root.iterdir())


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def current(seed: SeedRecord) -> str:
    return "key"


def test_the_newest_whole_one_is_found(bench: Bench) -> None:
    bench.add("key-1", made_at=1.0)
    newer = bench.add("key-2", made_at=2.0)
    broken = bench.add("key-3", made_at=3.0)
    bench.shelf.files(broken).state.unlink()
    bench.add("other-1", key="other")
    assert bench.shelf.find("key") == newer
    assert bench.shelf.find("none") is None


def test_a_stale_one_goes_whole(bench: Bench) -> None:
    bench.add("old-1", key="old")
    bench.add("key-1")
    (pruned,) = bench.shelf.prune(current, dry_run=False)
    assert (pruned.id, pruned.image) == ("old-1", "debian")
    assert pruned.bytes >= 4 * SIZE
    assert "another one now" in pruned.reason
    assert bench.there == ["key-1"]


def test_disks_stay_as_long_as_vms_lie_on_them(bench: Bench) -> None:
    seed = bench.add("old-1", key="old")
    bench.use("old-1")
    (pruned,) = bench.shelf.prune(current, dry_run=False)
    assert 2 * SIZE <= pruned.bytes < 4 * SIZE
    files = bench.shelf.files(seed)
    assert (files.ram.exists(), files.state.exists()) == (False, False)
    assert (files.root.exists(), files.work.exists()) == (True, True)
    assert bench.shelf.find("old") is None
    assert bench.shelf.view(seed, current, 0).vms == ["box"]
    assert bench.shelf.prune(current, dry_run=False) == []
    bench.vms.clear()
    bench.shelf.prune(current, dry_run=False)
    assert bench.there == []


def test_what_would_go_is_told_and_stays(bench: Bench) -> None:
    bench.add("old-1", key="old")
    (pruned,) = bench.shelf.prune(current, dry_run=True)
    assert pruned.bytes >= 3 * SIZE
    assert bench.there == ["old-1"]


def test_one_that_nobody_used_for_long_goes(bench: Bench) -> None:
    long_ago = time.time() - UNUSED_S - 60
    for seed_id in ("key-1", "key-2"):
        seed = bench.add(seed_id)
        os.utime(bench.shelf.files(seed).state, (long_ago, long_ago))
    bench.shelf.note_use(seed)
    (pruned,) = bench.shelf.prune(current, dry_run=False)
    assert (pruned.id, pruned.reason) == ("key-1", "not used for two weeks")


def test_a_vm_that_appears_meanwhile_keeps_its_seed(bench: Bench, tmp_path: Path) -> None:
    """Its record is written between the look at the VMs and the removal."""
    looks: list[list[VmRecord]] = []

    def vms() -> list[VmRecord]:
        looks.append(list(bench.vms))
        bench.use("old-1")
        return looks[-1]

    seed = bench.add("old-1", key="old")
    Shelf(seed_store(tmp_path), vms=vms).retire(seed)
    assert bench.there == ["old-1"]
    assert bench.shelf.files(seed).root.exists()


def test_a_record_that_nobody_reads_any_more_is_removed(bench: Bench) -> None:
    for seed_id in ("odd-1", "odd-2"):
        bench.add(seed_id)
        (bench.root / seed_id / "record.json").write_text('{"version": 99, "record": {}}')
    bench.use("odd-2")
    assert bench.shelf.records() == []
    bench.shelf.prune(current, dry_run=True)
    assert bench.there == ["odd-1", "odd-2"]
    bench.shelf.prune(current, dry_run=False)
    assert bench.there == ["odd-2"]


def test_what_a_crash_set_aside_is_put_back(bench: Bench) -> None:
    bench.add("key-1")
    (bench.root / "key-1").rename(bench.root / ".aside-key-1")
    (bench.root / ".deleting-key-2").mkdir()
    bench.shelf.sweep()
    assert bench.there == ["key-1"]
