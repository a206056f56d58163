"""Snapshots, what begins in them, and memory that outlasts its VMM, over a driver that obeys."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from banger.actors import vm_freeze, vm_requests
from banger.actors.fleet import CreateVm, DeleteVm, FindVm, Snapshotted, SweepLayers
from banger.actors.snapshot_store import snapshot_store, state_file
from banger.actors.vm_suspend import memory_file
from banger.guest import agent
from banger.kernel.errors import Conflict, HostNotReady, IllegalState, VmmError
from banger.kernel.store import RecordStore
from banger.model.guest import GuestConfig
from banger.model.snapshot import SnapshotRecord
from banger.model.vm import VmState
from banger.vmm.base import Ram
from tests.unit.vm_bench import Bench, bench_at, guest

__all__ = ["guest"]


@pytest.fixture(autouse=True)
def configured(monkeypatch: pytest.MonkeyPatch) -> list[GuestConfig]:
    """What the guests were told."""
    told: list[GuestConfig] = []

    async def configure(link: object, config: GuestConfig) -> tuple[str, ...]:
        told.append(config)
        return ()

    async def set_clock(link: object, unix_ns: int) -> None:
        pass

    monkeypatch.setattr(agent, "configure", configure)
    monkeypatch.setattr(agent, "set_clock", set_clock)
    return told


async def take(bench: Bench, name: str = "s") -> SnapshotRecord:
    store = snapshot_store(bench.store.directory("box"))
    frozen = await bench.ask(vm_requests.Snapshot(name, store))
    assert isinstance(frozen, vm_requests.Frozen)
    return frozen.record


def forks(bench: Bench) -> RecordStore[SnapshotRecord]:
    return snapshot_store(bench.root / "forked")


def layers(bench: Bench) -> set[str]:
    return {path.name for path in (bench.root / "layers").glob("*")}


async def test_a_snapshot_and_a_vm_from_it(tmp_path: Path, configured: list[GuestConfig]) -> None:
    async with bench_at(tmp_path) as bench:
        await bench.create()
        record = await take(bench)
        assert await bench.state() is VmState.RUNNING
        assert layers(bench) == set(record.layers) == set(bench.store.load("box").layers)
        directory = snapshot_store(bench.store.directory("box")).directory("s")
        assert state_file(directory).read_bytes() == b"state"
        with pytest.raises(Conflict, match="has a snapshot 's' already"):
            await take(bench)

        origin = Snapshotted(record, directory)
        await bench.fleet.ask(CreateVm("copy", record.spec, record.image_id, True, origin=origin))
        plan = bench.driver.plans[-1]
        assert plan.state == state_file(directory)
        assert not bench.driver.machines[-1].resized
        (below,) = plan.drives[0].layers
        assert below == tmp_path / "layers" / record.layers[0] / "root.qcow2"
        assert configured[0].boot_id
        assert configured[0].hostname == "copy"

        # What the copy lies on stays as long as the copy.
        await bench.fleet.ask(DeleteVm("box"))
        await bench.fleet.ask(SweepLayers())
        assert layers(bench) == set(record.layers)
        await bench.fleet.ask(DeleteVm("copy"))
        while layers(bench):
            await trio.sleep(0.01)
        bench.assert_nothing_left()


async def test_a_snapshot_that_fails_leaves_a_vm_as_it_was(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await bench.create()
        bench.driver.machines[0].refusal = VmmError("QEMU's snapshot failed: no space")
        with pytest.raises(VmmError, match="no space"):
            await take(bench)
        assert await bench.state() is VmState.RUNNING
        store = snapshot_store(bench.store.directory("box"))
        assert not [*store.root.iterdir()]
        # Its disk was frozen all the same, and it starts on what it has.
        await bench.ask(vm_requests.Stop(force=True))
        await bench.ask(vm_requests.Start())
        assert len(bench.driver.plans[-1].drives[0].layers) == 1


@pytest.mark.parametrize("state", [VmState.STOPPED, VmState.PAUSED])
async def test_snapshots_are_of_machines_that_are_there(tmp_path: Path, state: VmState) -> None:
    async with bench_at(tmp_path) as bench:
        await bench.create()
        if state is VmState.PAUSED:
            await bench.ask(vm_requests.Pause())
            await take(bench)
            assert await bench.state() is VmState.PAUSED
            return
        await bench.ask(vm_requests.Stop(force=True))
        with pytest.raises(IllegalState, match="it is stopped"):
            await take(bench)


async def test_a_fork_with_its_memory_apart(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await bench.create()
        bench.driver.machines[0].forks = True
        store = forks(bench)
        frozen = await bench.ask(vm_requests.Snapshot("f", store, brief=True))
        assert frozen.ram is not None
        assert frozen.ram.path.read_bytes().rstrip(b"\0") == b"basememory"
        directory = store.directory("f")
        assert state_file(directory).read_bytes() == b"devices"

        origin = Snapshotted(frozen.record, directory, frozen.ram.path)
        record = frozen.record
        await bench.fleet.ask(CreateVm("copy", record.spec, record.image_id, True, origin=origin))
        plan = bench.driver.plans[-1]
        assert plan.ram == Ram(frozen.ram.path, shared=False)
        assert plan.state == state_file(directory)
        frozen.ram.close()
        # A snapshot that is to last has all in one file.
        store = snapshot_store(bench.store.directory("box"))
        assert (await bench.ask(vm_requests.Snapshot("s", store))).ram is None


async def test_a_fork_that_fails_keeps_no_memory(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await bench.create()
        machine = bench.driver.machines[0]
        machine.forks, machine.refusal = True, VmmError("QEMU's devices do not come to rest")
        before = len([*Path("/proc/self/fd").iterdir()])
        with pytest.raises(VmmError, match="do not come to rest"):
            await bench.ask(vm_requests.Snapshot("f", forks(bench), brief=True))
        assert len([*Path("/proc/self/fd").iterdir()]) == before
        assert not [*forks(bench).root.iterdir()]
        assert await bench.state() is VmState.RUNNING


async def test_a_disk_without_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, memory_bytes: int) -> int:
        raise HostNotReady("1.0 MiB free")

    monkeypatch.setattr(vm_freeze, "open_state", full)
    async with bench_at(tmp_path) as bench:
        await bench.create()
        with pytest.raises(HostNotReady, match="free"):
            await take(bench)
        assert not bench.store.load("box").layers
        assert not layers(bench)


async def test_a_client_that_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with bench_at(tmp_path) as bench:
        await bench.create()
        begun = trio.Event()

        async def snapshot(file: int, switches: object) -> float:
            begun.set()
            await trio.sleep_forever()
            raise AssertionError

        monkeypatch.setattr(bench.driver.machines[0], "snapshot", snapshot)
        async with trio.open_nursery() as client:
            client.start_soon(take, bench)
            await begun.wait()
            with pytest.raises(IllegalState, match="is just being snapshotted"):
                await bench.ask(vm_requests.Stop())
            client.cancel_scope.cancel()
        while not (await _settled(lambda: bench.ask(vm_requests.Pause()))):
            await trio.sleep(0.01)
        store = snapshot_store(bench.store.directory("box"))
        assert not [*store.root.iterdir()]


async def _settled(work: Callable[[], object]) -> bool:
    try:
        await work()  # type: ignore[misc]
    except IllegalState:
        return False
    return True


async def test_back_to_a_snapshot(tmp_path: Path, configured: list[GuestConfig]) -> None:
    async with bench_at(tmp_path) as bench:
        await bench.create()
        first = await take(bench, "first")
        await take(bench, "second")
        store = snapshot_store(bench.store.directory("box"))
        order = vm_requests.Restore(first, store.directory("first"))
        assert (await bench.ask(order)).state is VmState.RUNNING
        record = bench.store.load("box")
        assert record.layers == first.layers
        # It is the machine it was: the same boot goes on.
        assert not configured[-1].boot_id
        assert configured[-1].entropy
        assert bench.driver.machines[0].ended.is_set()
        # The second is not lost by that.
        assert len(layers(bench)) == 2


async def test_suspend_and_start(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await bench.create()
        assert (await bench.ask(vm_requests.Suspend())).state is VmState.SUSPENDED
        assert not bench.driver.running
        assert not bench.taps.leased
        memory = memory_file(bench.store.directory("box"))
        assert memory.read_bytes() == b"state"
        with pytest.raises(IllegalState, match="is suspended"):
            await bench.ask(vm_requests.Stop())
    async with bench_at(tmp_path, bench) as again:
        assert await again.state() is VmState.SUSPENDED
        assert (await again.ask(vm_requests.Start())).state is VmState.RUNNING
        assert bench.driver.plans[-1].state == memory
        assert not memory.exists()
        assert again.store.load("box").suspended is None


async def test_a_start_that_fails_before_the_guest_goes_on(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await bench.create()
        await bench.ask(vm_requests.Suspend())
        bench.driver.refusal = HostNotReady("no QEMU")
        with pytest.raises(HostNotReady, match="no QEMU"):
            await bench.ask(vm_requests.Start())
        assert await bench.state() is VmState.SUSPENDED
        bench.driver.refusal = None
        assert (await bench.ask(vm_requests.Start())).state is VmState.RUNNING


async def test_memory_is_used_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with bench_at(tmp_path) as bench:
        await bench.create()
        await bench.ask(vm_requests.Suspend())

        async def refuse(link: object, config: GuestConfig) -> tuple[str, ...]:
            raise VmmError("the guest fell over")

        monkeypatch.setattr(agent, "configure", refuse)
        with pytest.raises(VmmError, match="fell over"):
            await bench.ask(vm_requests.Start())
        # The guest had gone on: its disk is no longer what its memory takes it for.
        assert await bench.state() is VmState.STOPPED
        assert bench.store.load("box").suspended is None
        await bench.ask(vm_requests.Start())
        assert bench.driver.plans[-1].state is None


async def test_memory_that_can_not_be_kept(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await bench.create()

        async def snapshot(file: int, switches: object) -> float:
            raise VmmError("QEMU's snapshot failed: no space")

        bench.driver.machines[0].snapshot = snapshot  # type: ignore[method-assign]
        with pytest.raises(VmmError, match="no space"):
            await bench.ask(vm_requests.Suspend())
        assert await bench.state() is VmState.RUNNING
        assert not bench.driver.machines[0].paused
        assert not memory_file(bench.store.directory("box")).exists()


async def test_memory_thrown_away(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await bench.create()
        await bench.ask(vm_requests.Suspend())
        assert (await bench.ask(vm_requests.Stop(force=True))).state is VmState.STOPPED
        assert not memory_file(bench.store.directory("box")).exists()
        await bench.ask(vm_requests.Start())
        assert bench.driver.plans[-1].state is None
        assert (await bench.fleet.ask(FindVm("box"))) is not None
