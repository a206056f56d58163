"""Restarting, backing off, giving up, stopping."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from banger.kernel.actor import Actor, Inbox, Ref
from banger.kernel.errors import ActorDied, ActorStopped, BangerError, NotFound
from banger.kernel.message import Request
from banger.kernel.supervisor import Child, Intensity, Supervisor
from tests.unit.nursery import nursery_within


class Do(Request[int], frozen=True):
    """Reply with how many actors there have been, or do what the word says."""

    what: str = "reply"


class Worker(Actor):
    """Has no state but its generation."""

    def __init__(self, generation: int) -> None:
        self.generation = generation

    async def run(self, inbox: Inbox) -> None:
        async for envelope in inbox:
            with envelope:
                match envelope.request.what:
                    case "crash":
                        raise ZeroDivisionError("as asked")
                    case "refuse":
                        raise NotFound("as asked")
                    case "forget":
                        continue
                    case "hang":
                        await trio.sleep_forever()
                    case "return":
                        return
                    case "sleep":
                        await trio.sleep(1)
                envelope.reply(self.generation)


class Running(Actor):
    """Runs the function it is given."""

    def __init__(self, function: Callable[[Inbox], Awaitable[None]]) -> None:
        self._function = function

    async def run(self, inbox: Inbox) -> None:
        await self._function(inbox)


def workers() -> Callable[[], Actor]:
    generation = 0

    def build() -> Actor:
        nonlocal generation
        generation += 1
        return Worker(generation)

    return build


async def test_finished_actor_is_not_restarted(autojump_clock: MockClock) -> None:
    async with nursery_within() as nursery:
        child = Supervisor(nursery).start("worker", workers())
        with pytest.raises(ActorStopped):
            await child.ref.ask(Do("return"))
        with trio.fail_after(1):
            await child.finished.wait()
        assert child.failure is None
        with pytest.raises(ActorStopped, match="worker is not running"):
            await child.ref.ask(Do())


async def test_crashed_actor_is_rebuilt_behind_the_same_ref(autojump_clock: MockClock) -> None:
    async with nursery_within() as nursery:
        child = Supervisor(nursery).start("worker", workers())
        assert await child.ref.ask(Do()) == 1
        with pytest.raises(ActorDied):
            await child.ref.ask(Do("crash"))
        assert await child.ref.ask(Do()) == 2
        await child.stop()


async def test_requests_queued_at_a_crash_wait_for_the_new_actor(autojump_clock: MockClock) -> None:
    replies: list[int] = []

    async def ask(ref: Ref) -> None:
        replies.append(await ref.ask(Do()))

    async with nursery_within() as nursery:
        child = Supervisor(nursery).start("worker", workers())
        async with trio.open_nursery() as asking:
            asking.start_soon(swallow, child.ref, Do("sleep"))
            await wait_all_tasks_blocked()
            asking.start_soon(swallow, child.ref, Do("crash"))
            await wait_all_tasks_blocked()
            for _ in range(30):
                asking.start_soon(ask, child.ref)
        assert replies == [2] * 30
        await child.stop()


async def test_pauses_double_and_then_it_gives_up(autojump_clock: MockClock) -> None:
    starts: list[float] = []
    given_up: list[Child] = []
    begin = trio.current_time()

    async def crash(_: Inbox) -> None:
        starts.append(round(trio.current_time() - begin, 6))
        raise ZeroDivisionError("every time")

    async with nursery_within() as nursery:
        supervisor = Supervisor(nursery, on_give_up=given_up.append)
        child = supervisor.start("hopeless", lambda: Running(crash))
        for _ in range(5):
            nursery.start_soon(swallow, child.ref, Do())
    assert starts == [0, 0.1, 0.3, 0.7, 1.5, 3.1]
    assert given_up == [child]
    assert isinstance(child.failure, ZeroDivisionError)


async def test_pause_has_an_upper_bound(autojump_clock: MockClock) -> None:
    starts: list[float] = []

    async def crash(_: Inbox) -> None:
        starts.append(trio.current_time())
        raise ZeroDivisionError

    intensity = Intensity(restarts=5, period_s=1000, first_pause_s=1, longest_pause_s=4)
    async with nursery_within() as nursery:
        Supervisor(nursery, intensity=intensity).start("hopeless", lambda: Running(crash))
    pauses = [round(b - a, 6) for a, b in itertools.pairwise(starts)]
    assert pauses == [1, 2, 4, 4, 4]


async def test_rare_crashes_are_forgotten(autojump_clock: MockClock) -> None:
    intensity = Intensity(restarts=1, period_s=10, first_pause_s=1, longest_pause_s=8)
    async with nursery_within() as nursery:
        child = Supervisor(nursery, intensity=intensity).start("worker", workers())
        for generation in range(1, 6):
            with pytest.raises(ActorDied):
                await child.ref.ask(Do("crash"))
            before = trio.current_time()
            assert await child.ref.ask(Do()) == generation + 1
            assert trio.current_time() - before == pytest.approx(1)
            await trio.sleep(10)
        assert child.failure is None
        await child.stop()


async def test_factory_that_raises_counts_as_a_crash(autojump_clock: MockClock) -> None:
    def build() -> Actor:
        raise FileNotFoundError("the record")

    async with nursery_within() as nursery:
        child = Supervisor(nursery).start("unborn", build)
    assert isinstance(child.failure, FileNotFoundError)


async def test_fault_of_one_does_not_reach_another(autojump_clock: MockClock) -> None:
    async def crash(_: Inbox) -> None:
        await trio.lowlevel.checkpoint()
        raise ExceptionGroup("from a nursery", [ZeroDivisionError()])

    async with nursery_within() as nursery:
        supervisor = Supervisor(nursery)
        steady = supervisor.start("steady", workers())
        hopeless = supervisor.start("hopeless", lambda: Running(crash))
        await hopeless.finished.wait()
        assert hopeless.failure is not None
        assert await steady.ref.ask(Do()) == 1
        await steady.stop()


async def test_crashes_are_logged_with_their_traceback(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with nursery_within() as nursery:
        child = Supervisor(nursery).start("worker", workers())
        await swallow(child.ref, Do("crash"))
        await child.stop()
    assert "actor worker crashed" in caplog.text
    assert "ZeroDivisionError: as asked" in caplog.text


# --- stopping ---


async def test_stop_waits_for_the_actor_s_end(autojump_clock: MockClock) -> None:
    ended = False

    async def slow_to_end(_: Inbox) -> None:
        nonlocal ended
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(3)
            ended = True

    async with nursery_within() as nursery:
        child = Supervisor(nursery).start("slow", lambda: Running(slow_to_end))
        await wait_all_tasks_blocked()
        await child.stop()
        assert ended
        assert child.failure is None


@pytest.mark.parametrize("when", ["before it ran", "idle", "working", "pausing", "finished"])
async def test_stop_frees_every_asker(when: str, autojump_clock: MockClock) -> None:
    async with nursery_within() as nursery:
        child = Supervisor(nursery).start("worker", workers())
        if when != "before it ran":
            await wait_all_tasks_blocked()
        if when == "finished":
            await swallow(child.ref, Do("return"))
        if when == "pausing":
            await swallow(child.ref, Do("crash"))
        if when != "idle":
            for _ in range(10):
                nursery.start_soon(swallow, child.ref, Do("hang"))
        if when in ("working", "pausing"):
            await wait_all_tasks_blocked()
        with trio.fail_after(1):
            await child.stop()
            await child.stop()


@pytest.mark.parametrize("who", ["child", "everyone"])
@pytest.mark.parametrize("wrap", ["plain", "nursery"])
async def test_crash_while_stopping_stays_inside(
    who: str, wrap: str, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail_at_the_end() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ZeroDivisionError("on the way out")

    async def run(_: Inbox) -> None:
        if wrap == "plain":
            await fail_at_the_end()
        async with trio.open_nursery() as inner:
            inner.start_soon(trio.sleep_forever)
            inner.start_soon(fail_at_the_end)

    async with nursery_within() as nursery:
        child = Supervisor(nursery).start("clumsy", lambda: Running(run))
        await wait_all_tasks_blocked()
        if who == "child":
            await child.stop()
        else:
            nursery.cancel_scope.cancel()
    assert child.finished.is_set()
    assert "on the way out" in caplog.text


async def test_actor_that_retires_by_a_crash_is_not_kept_in_a_loop(
    autojump_clock: MockClock,
) -> None:
    starts = 0

    async def retire(inbox: Inbox) -> None:
        nonlocal starts
        starts += 1
        async for envelope in inbox:
            inbox.close()
            with envelope:
                raise ZeroDivisionError

    async with nursery_within() as nursery:
        child = Supervisor(nursery).start("retiring", lambda: Running(retire))
        with pytest.raises(ActorDied):
            await child.ref.ask(Do())
        await child.finished.wait()
    assert starts == 2
    assert child.failure is None


@pytest.mark.parametrize("seed", range(5))
async def test_nobody_hangs_whatever_happens(seed: int, autojump_clock: MockClock) -> None:
    chance = random.Random(seed)
    outcomes: Counter[str] = Counter()

    async def ask(ref: Ref) -> None:
        await trio.sleep(chance.uniform(0, 20))
        what = chance.choices(
            ["reply", "crash", "refuse", "forget", "hang", "sleep"], [40, 1, 5, 5, 1, 10]
        )[0]
        with trio.move_on_after(chance.choice([0, 1, 5, 1000])) as deadline:
            try:
                await ref.ask(Do(what))
                outcomes["reply"] += 1
            except BangerError as error:
                outcomes[type(error).__name__] += 1
        outcomes["left"] += deadline.cancelled_caught

    with trio.fail_after(2000):
        async with trio.open_nursery() as nursery:
            supervisor = Supervisor(nursery, intensity=Intensity(restarts=3))
            child = supervisor.start("worker", workers())
            async with trio.open_nursery() as asking:
                for _ in range(400):
                    asking.start_soon(ask, child.ref)
                await trio.sleep(15)
                await child.stop()
    assert outcomes.total() == 400
    assert outcomes["ActorStopped"] > 0


async def swallow(ref: Ref, request: Do) -> None:
    """Ask, and take whatever comes."""
    try:
        await ref.ask(request)
    except BangerError:
        return
