"""Stages run in order, and are undone in reverse."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from banger.kernel.errors import BangerError
from banger.kernel.message import Fault
from banger.kernel.stages import UNDO_DEADLINE_S, Stage, StageTiming, run_stages

History = list[str]
Step = Callable[[], Awaitable[None]]


async def nothing() -> None:
    await trio.lowlevel.checkpoint()


async def crash() -> None:
    raise ZeroDivisionError("as asked")


def stage(name: str, do: Step = nothing, undo: Step | None = nothing) -> Stage[History]:
    """A stage that writes down what happens to it."""

    async def doing(history: History) -> str:
        history.append(f"do {name}")
        await do()
        return f"note of {name}"

    async def undoing(history: History) -> None:
        assert undo is not None
        history.append(f"undo {name}")
        await undo()

    return Stage(name, doing, undoing if undo else None)


async def run(
    stages: list[Stage[History]], history: History, fault: Fault | None = None
) -> list[StageTiming]:
    return await run_stages(
        stages,
        history,
        started=lambda name: history.append(f"started {name}"),
        finished=lambda timing: history.append(f"finished {timing.name}"),
        fault=fault,
    )


async def test_stages_run_in_order_and_are_timed(autojump_clock: MockClock) -> None:
    history: History = []
    timings = await run([stage("a"), stage("b", do=lambda: trio.sleep(1.5))], history)
    assert history == ["started a", "do a", "finished a", "started b", "do b", "finished b"]
    assert [(t.name, t.note) for t in timings] == [("a", "note of a"), ("b", "note of b")]
    assert timings[0].duration_ms == 0
    assert timings[1].duration_ms == pytest.approx(1500)


async def test_failing_stage_and_all_before_it_are_undone_in_reverse() -> None:
    history: History = []
    stages = [stage("a"), stage("b", undo=None), stage("c"), stage("d", do=crash), stage("e")]
    with pytest.raises(ZeroDivisionError):
        await run(stages, history)
    assert history[-3:] == ["undo d", "undo c", "undo a"]
    assert "finished d" not in history
    assert "started e" not in history


async def test_cancelled_stage_and_all_before_it_are_undone(autojump_clock: MockClock) -> None:
    history: History = []
    stages = [stage("a", undo=lambda: trio.sleep(3)), stage("b", do=trio.sleep_forever)]
    with trio.move_on_after(1) as deadline:
        await run(stages, history)
    assert deadline.cancelled_caught
    assert history[-2:] == ["undo b", "undo a"]
    assert trio.current_time() - deadline.deadline == pytest.approx(3)


@pytest.mark.parametrize("cancelled", [False, True])
async def test_failing_and_hanging_undos_keep_no_other_from_running(
    cancelled: bool, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def crash_in_nursery() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            nursery.start_soon(crash)

    history: History = []
    stages = [
        stage("a"),
        stage("b", undo=trio.sleep_forever),
        stage("c", undo=crash),
        stage("d", undo=crash_in_nursery),
        stage("e", do=trio.sleep_forever if cancelled else crash),
    ]
    before = trio.current_time()
    with trio.CancelScope(deadline=before + 1 if cancelled else float("inf")) as scope:
        with pytest.raises(trio.Cancelled if cancelled else ZeroDivisionError) as caught:
            await run(stages, history)
        if cancelled:
            raise caught.value
    assert scope.cancelled_caught is cancelled
    assert history[-5:] == ["undo e", "undo d", "undo c", "undo b", "undo a"]
    assert trio.current_time() - before == pytest.approx(UNDO_DEADLINE_S + cancelled)
    for name in "bcd":
        assert f"undo of stage {name} failed" in caplog.text


async def test_fault_strikes_at_the_end_of_its_stage() -> None:
    history: History = []
    with pytest.raises(BangerError, match="injected fault at stage b"):
        await run([stage("a"), stage("b"), stage("c")], history, Fault("b"))
    assert history[-3:] == ["do b", "undo b", "undo a"]


async def test_hanging_fault_hangs_until_cancelled(autojump_clock: MockClock) -> None:
    history: History = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, [stage("a"), stage("b")], history, Fault("b", hang=True))
        await wait_all_tasks_blocked()
        assert history[-1] == "do b"
        nursery.cancel_scope.cancel()
    assert history[-2:] == ["undo b", "undo a"]


@pytest.mark.parametrize(
    ("failing", "expected"), [("started", ["undo a"]), ("finished", ["do a", "undo a"])]
)
async def test_reporting_that_fails_undoes_too(failing: str, expected: History) -> None:
    history: History = []

    def report(what: str) -> None:
        if what == failing:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await run_stages(
            [stage("a")],
            history,
            started=lambda _: report("started"),
            finished=lambda _: report("finished"),
        )
    assert history == expected
