"""VMs that end by themselves: when they have stopped, at their time, when nobody uses them."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import pytest
import trio

from banger.actors import vm_lifetime, vm_requests
from banger.actors.fleet import AwaitGone, CreateVm, DeleteVm, FindVm
from banger.guest import agent
from banger.kernel.errors import IllegalState, NotFound
from banger.model.lifetime import Lifetime, LifetimeChange
from banger.model.vm import VmState, VmView
from tests.unit.vm_bench import SPEC, Bench, bench_at, guest

__all__ = ["guest"]


class Health:
    uptime_ms = 1
    sessions = 0


@pytest.fixture(autouse=True)
def health(monkeypatch: pytest.MonkeyPatch) -> type[Health]:
    """What the agent says of itself, with looks at it that are close together."""

    class Own(Health):
        pass

    async def answer(link: object) -> type[Health]:
        return Own

    monkeypatch.setattr(agent, "health", answer)
    monkeypatch.setattr(vm_lifetime, "USE_LOOK_MIN_S", 0.01)
    monkeypatch.setattr(vm_lifetime, "RETRY_S", 0.01)
    return Own


async def create(bench: Bench, lifetime: Lifetime, *, start: bool = True) -> VmView:
    return await bench.fleet.ask(CreateVm("box", SPEC, "debian-1", start, lifetime=lifetime))


async def gone(bench: Bench) -> None:
    with pytest.raises(NotFound):
        while True:
            await bench.fleet.ask(FindVm("box"))
            await trio.sleep(0.01)
    bench.assert_nothing_left()


async def test_rm_and_stop(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        assert (await create(bench, Lifetime(remove=True))).lifetime.rm
        ref = await bench.fleet.ask(FindVm("box"))
        assert (await ref.ask(vm_requests.Stop(force=True))).state is VmState.STOPPED
        await bench.fleet.ask(AwaitGone(ref))
        # Whoever waited for the stop finds the name free.
        bench.assert_nothing_left()
        await create(bench, Lifetime(remove=True))


async def test_rm_and_a_crash(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await create(bench, Lifetime(remove=True))
        bench.driver.machines[0].ended.set()
        await gone(bench)


async def test_rm_and_restart(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await create(bench, Lifetime(remove=True))
        assert (await bench.ask(vm_requests.Restart())).state is VmState.RUNNING


async def test_rm_and_a_restart_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with bench_at(tmp_path) as bench:
        await create(bench, Lifetime(remove=True))

        async def refuse(link: object) -> None:
            raise IllegalState("not now")

        monkeypatch.setattr(agent, "check_configured", refuse)
        with pytest.raises(IllegalState, match="not now"):
            await bench.ask(vm_requests.Restart())
        await gone(bench)


@pytest.mark.parametrize("lifetime", [Lifetime(remove=True), Lifetime(of_call="1")])
async def test_what_a_daemon_finds_to_be_over(tmp_path: Path, lifetime: Lifetime) -> None:
    async with bench_at(tmp_path) as bench:
        await bench.create()
        record = msgspec.structs.replace(bench.store.load("box"), lifetime=lifetime)
    bench.store.save("box", record)
    async with bench_at(tmp_path, bench) as again:
        # Its VMM runs on, but for one with --rm.
        if lifetime.remove:
            bench.driver.machines[0].ended.set()
        await gone(again)


async def test_rm_only_of_what_runs(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await create(bench, Lifetime(), start=False)
        with pytest.raises(IllegalState, match="is stopped already"):
            await bench.ask(vm_requests.Change(lifetime=LifetimeChange(remove=True)))
        assert bench.store.load("box").lifetime == Lifetime()


@pytest.mark.parametrize("start", [True, False])
async def test_a_time_to_live(tmp_path: Path, start: bool) -> None:
    async with bench_at(tmp_path) as bench:
        view = await create(bench, Lifetime(expires_at=time.time() + 3600), start=start)
        assert view.lifetime.expires_at is not None
        changed = await bench.ask(vm_requests.Change(lifetime=LifetimeChange(ttl_s=0.2)))
        assert changed.lifetime.expires_at < view.lifetime.expires_at
        await gone(bench)


async def test_a_time_to_live_taken_back(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await create(bench, Lifetime(expires_at=time.time() + 3600))
        view = await bench.ask(vm_requests.Change(lifetime=LifetimeChange(ttl_s=None)))
        assert view.lifetime.expires_at is None


async def test_a_time_that_ends_while_the_vm_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench_at(tmp_path) as bench:

        async def slowly(link: object) -> tuple[str, ...]:
            await trio.sleep(0.3)
            return ()

        monkeypatch.setattr(agent, "check_configured", slowly)
        await create(bench, Lifetime(expires_at=time.time() + 0.1))
        await gone(bench)


async def test_an_idle_vm_is_stopped(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await create(bench, Lifetime(idle_stop_s=1))
        while await bench.state() is not VmState.STOPPED:
            await trio.sleep(0.01)
        assert bench.store.load("box").reason == "not used for 1s"
        await bench.ask(vm_requests.Start())
        await bench.fleet.ask(DeleteVm("box"))


async def test_use_keeps_a_vm(tmp_path: Path, health: type[Health]) -> None:
    async with bench_at(tmp_path) as bench:
        health.sessions = 1
        await create(bench, Lifetime(idle_stop_s=1))
        console = await bench.ask(vm_requests.GetConsole())
        await trio.sleep(1.2)
        assert await bench.state() is VmState.RUNNING

        # Somebody reads the console while the SSH session ends.
        async def read() -> None:
            async for _ in console.read(follow=True):
                pass

        async with trio.open_nursery() as reader:
            reader.start_soon(read)
            await trio.testing.wait_all_tasks_blocked(0.01)
            health.sessions = 0
            await trio.sleep(1.2)
            assert await bench.state() is VmState.RUNNING
            await bench.ask(vm_requests.Pause())
            reader.cancel_scope.cancel()
        await trio.sleep(1.2)
        assert await bench.state() is VmState.PAUSED
        await bench.ask(vm_requests.Resume())
        while await bench.state() is not VmState.STOPPED:
            await trio.sleep(0.01)
