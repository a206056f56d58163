"""A VM's actor: its operations, and what happens half-way through them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from banger.actors import bring_up, vm_requests
from banger.actors.fleet import DeleteVm
from banger.actors.vm_operations import Operations
from banger.guest import agent
from banger.host import qcow2
from banger.kernel.errors import (
    Conflict,
    HostNotReady,
    IllegalState,
    NotFound,
    UsageError,
    VmmError,
)
from banger.model.vm import VmRecord, VmState, VmView
from tests.unit.vm_bench import FakeMachine, bench_at, guest

__all__ = ["guest"]


def stop_at(monkeypatch: pytest.MonkeyPatch, state: VmState) -> trio.Event:
    """The record of this state is not saved until the saving is cancelled."""
    reached = trio.Event()
    save = bring_up.BringUp.save

    async def save_or_hang(self: bring_up.BringUp, **changes: object) -> None:
        if changes.get("state") is state:
            reached.set()
            await trio.sleep_forever()
        await save(self, **changes)

    monkeypatch.setattr(bring_up.BringUp, "save", save_or_hang)
    return reached


async def test_a_life(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        view = await bench.create()
        assert (view.state, view.pid) == (VmState.RUNNING, 1)
        assert (await bench.ask(vm_requests.Stop(force=True))).state is VmState.STOPPED
        assert not bench.taps.leased
        assert (await bench.ask(vm_requests.Start())).pid == 2
        await bench.fleet.ask(DeleteVm("box"))
        with pytest.raises(NotFound):
            await bench.ask(vm_requests.Describe())
        bench.assert_nothing_left()
        once = ["prepare", "started", "stopping", "stopped"]
        hooks = [*once, "prepare", "started", "stopped", "deleted"]
        assert bench.told == [f"{hook} box 1" for hook in hooks]


async def test_a_change(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await bench.create()
        view = await bench.ask(
            vm_requests.Change(
                labels={"env": "test", "gone": None}, options={"recorder": {"level": 5}}
            )
        )
        assert (view.labels, view.options) == ({"env": "test"}, {"recorder": {"level": 5}})
        assert bench.told[-1] == "changed box 5"
        view = await bench.ask(vm_requests.Change(labels={"env": None}))
        assert (view.labels, view.options) == ({}, {"recorder": {"level": 5}})
        assert bench.store.load("box").options == {"recorder": {"level": 5}}
        assert bench.told[-1] == "changed box 5"


async def test_the_shape_of_a_stopped_vm(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await bench.create()
        larger = {"vcpus": 2, "memory_mib": 512, "disk_bytes": 128 << 20}
        with pytest.raises(IllegalState, match="its shape is that of its VMM"):
            await bench.ask(vm_requests.Change(larger))
        await bench.ask(vm_requests.Stop(force=True))
        view = await bench.ask(vm_requests.Change(larger))
        assert (view.vcpus, view.memory_mib, view.disk_bytes) == (2, 512, 128 << 20)
        disk = bench.store.directory("box") / "root.qcow2"
        assert qcow2.read_header(disk).virtual_size == 128 << 20
        with pytest.raises(UsageError, match="it can't shrink to 64"):
            await bench.ask(vm_requests.Change({"disk_bytes": 64 << 20}))
        assert bench.store.load("box").spec.disk_bytes == 128 << 20
        assert (await bench.ask(vm_requests.Start())).state is VmState.RUNNING


async def test_a_change_that_fails_is_undone(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await bench.create()
        bench.refuse_changes = True
        with pytest.raises(Conflict, match="not now"):
            await bench.ask(
                vm_requests.Change(labels={"a": "b"}, options={"recorder": {"level": 5}})
            )
        assert bench.told[-2:] == ["changed box 5", "undo box 1"]
        record = bench.store.load("box")
        assert (record.labels, record.options) == ({}, {"recorder": {"level": 1}})
        assert (await bench.ask(vm_requests.Describe())).state is VmState.RUNNING


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"recorder": {"level": "x"}}, "--recorder-level 'x'"),
        ({"recorder": {"colour": 1}}, "no option 'colour'"),
        ({"absent": {}}, "no capability 'absent'"),
    ],
)
async def test_a_change_that_makes_no_sense(
    tmp_path: Path, options: dict[str, dict[str, Any]], error: str
) -> None:
    async with bench_at(tmp_path) as bench:
        await bench.create()
        before = list(bench.told)
        with pytest.raises(UsageError, match=error):
            await bench.ask(vm_requests.Change(options=options))
        assert bench.told == before


async def test_what_stopped_gives_back_can_be_given_back_twice(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await bench.create()
        bench.taps.refusals.append(HostNotReady("no netlink just now"))
        # It fails half-way, after the VMM has ended: the actor starts anew and cleans up.
        with pytest.raises(HostNotReady):
            await bench.ask(vm_requests.Stop(force=True))
        assert bench.told.count("stopped box 1") == 1
        assert await bench.state() is VmState.STOPPED
        assert bench.told[-1] == "stopped box 1"
        assert bench.told.count("stopped box 1") == 2


async def test_a_client_that_goes_away_at_the_very_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench_at(tmp_path) as bench:
        reached = stop_at(monkeypatch, VmState.RUNNING)
        async with trio.open_nursery() as client:
            client.start_soon(bench.create)
            await reached.wait()
            client.cancel_scope.cancel()
        while await bench.state() is not None:
            await trio.sleep(0.01)
        bench.assert_nothing_left()


async def test_a_start_whose_client_goes_away_at_the_very_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench_at(tmp_path) as bench:
        await bench.create(start=False)
        reached = stop_at(monkeypatch, VmState.RUNNING)
        async with trio.open_nursery() as client:
            client.start_soon(bench.ask, vm_requests.Start())
            await reached.wait()
            client.cancel_scope.cancel()
        while await bench.state() is not VmState.STOPPED:
            await trio.sleep(0.01)
        assert not bench.driver.running
        assert not bench.taps.leased


async def test_a_vmm_that_ends_as_soon_as_it_is_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench_at(tmp_path) as bench:

        async def check_configured(link: object) -> tuple[str, ...]:
            bench.driver.machines[0].ended.set()
            return ()

        monkeypatch.setattr(agent, "check_configured", check_configured)
        with pytest.raises(VmmError, match="the guest ended before it was up"):
            await bench.create()
        bench.assert_nothing_left()


async def test_a_stop_that_fails_is_taken_up_again(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await bench.create()
        bench.taps.refusals.append(HostNotReady("no netlink just now"))
        with pytest.raises(HostNotReady, match="no netlink just now"):
            await bench.ask(vm_requests.Stop(force=True))
        assert await bench.state() is VmState.STOPPED
        assert not bench.taps.leased
        assert (await bench.ask(vm_requests.Start())).state is VmState.RUNNING


async def test_a_delete_that_fails_is_taken_up_again(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await bench.create()
        bench.taps.refusals.append(HostNotReady("no netlink just now"))
        with pytest.raises(HostNotReady, match="no netlink just now"):
            await bench.fleet.ask(DeleteVm("box"))
        while await bench.state() is not None:
            await trio.sleep(0.01)
        bench.assert_nothing_left()
        await bench.create()


async def test_a_delete_while_a_crashed_vm_is_cleaned_up(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await bench.create()
        bench.driver.machines[0].ended.set()
        while await bench.state() is not VmState.CRASHED:
            await trio.sleep(0)
        await bench.fleet.ask(DeleteVm("box"))
        bench.assert_nothing_left()


async def test_stop_and_delete_on_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench_at(tmp_path) as bench:
        await bench.create()

        def full(key: str, record: VmRecord) -> None:
            raise HostNotReady("no space left")

        monkeypatch.setattr(bench.store, "save", full)
        assert (await bench.ask(vm_requests.Stop(force=True))).state is VmState.STOPPED
        with pytest.raises(HostNotReady, match="no space left"):
            await bench.ask(vm_requests.Start())
        assert await bench.state() is VmState.STOPPED
        await bench.fleet.ask(DeleteVm("box"))
        bench.assert_nothing_left()


async def test_pause_and_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clocks: list[int] = []

    async def set_clock(link: object, unix_ns: int) -> None:
        clocks.append(unix_ns)

    monkeypatch.setattr(agent, "set_clock", set_clock)
    async with bench_at(tmp_path) as bench:
        await bench.create()
        assert (await bench.ask(vm_requests.Pause())).state is VmState.PAUSED
        assert bench.driver.machines[0].paused
        assert bench.store.load("box").state is VmState.PAUSED
        for refused in (vm_requests.GetLink(), vm_requests.Pause(), vm_requests.Restart()):
            with pytest.raises(IllegalState, match="it is paused"):
                await bench.ask(refused)
        with pytest.raises(IllegalState, match="can't be talked to"):
            await bench.ask(vm_requests.GetLinkForHooks())
        assert not clocks
        assert (await bench.ask(vm_requests.Resume())).state is VmState.RUNNING
        assert not bench.driver.machines[0].paused
        assert bench.store.load("box").state is VmState.RUNNING
        assert len(clocks) == 1


async def test_a_pause_that_fails(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await bench.create()
        bench.driver.machines[0].refusal = VmmError("QEMU refused stop: not now")
        with pytest.raises(VmmError, match="not now"):
            await bench.ask(vm_requests.Pause())
        assert await bench.state() is VmState.RUNNING
        assert bench.store.load("box").state is VmState.RUNNING


async def test_a_vmm_that_ends_while_paused(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await bench.create()
        await bench.ask(vm_requests.Pause())
        bench.driver.machines[0].ended.set()
        while bench.store.load("box").state is not VmState.CRASHED:
            await trio.sleep(0.01)
        assert await bench.state() is VmState.CRASHED
        await bench.fleet.ask(DeleteVm("box"))
        bench.assert_nothing_left()


@pytest.mark.parametrize("force", [False, True])
async def test_a_paused_vm_goes_on_to_shut_down(tmp_path: Path, force: bool) -> None:
    async with bench_at(tmp_path) as bench:
        await bench.create()
        await bench.ask(vm_requests.Pause())
        assert (await bench.ask(vm_requests.Stop(force=force))).state is VmState.STOPPED
        assert bench.driver.machines[0].paused is force


async def test_a_delete_that_comes_as_soon_as_the_vm_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the creation has been replied to: its end is not the deletion's."""
    async with bench_at(tmp_path) as bench:
        running, views = trio.Event(), list[VmView]()
        settle, kill = Operations._settle, FakeMachine.kill

        async def settle_slowly(self: Operations, up: bring_up.BringUp, state: VmState) -> None:
            await settle(self, up, state)
            running.set()
            await trio.sleep(0.05)

        async def kill_slowly(self: FakeMachine) -> None:
            await trio.sleep(0.2)
            await kill(self)

        monkeypatch.setattr(Operations, "_settle", settle_slowly)
        monkeypatch.setattr(FakeMachine, "kill", kill_slowly)

        async def create() -> None:
            views.append(await bench.create())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(create)
            await running.wait()
            await bench.fleet.ask(DeleteVm("box"))
        assert views[0].name == "box"
        bench.assert_nothing_left()


async def test_a_client_that_goes_away_before_the_vmm_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench_at(tmp_path) as bench:
        launched = trio.Event()

        async def silent(*args: object, **options: object) -> bool:
            launched.set()
            await trio.sleep_forever()
            raise AssertionError

        monkeypatch.setattr(FakeMachine, "attend", silent)
        async with trio.open_nursery() as client:
            client.start_soon(bench.create)
            await launched.wait()
            client.cancel_scope.cancel()
        with trio.fail_after(5):
            while await bench.state() is not None:
                await trio.sleep(0.01)
        bench.assert_nothing_left()
