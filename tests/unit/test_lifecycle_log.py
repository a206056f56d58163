"""The lifecycle log: a line each of what happens, within bounds."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from banger.actors import lifecycle_log
from banger.actors.lifecycle_log import QUEUE, LifecycleLog
from banger.kernel.actor import mailbox
from banger.kernel.bus import Bus
from banger.model.events import BuildProgress, StageFinished, VmGone, VmStateChanged
from banger.model.vm import VmState
from tests.unit.nursery import nursery_within


@asynccontextmanager
async def logging_to(path: Path) -> AsyncIterator[Bus]:
    """A bus whose events are logged; all that was published is written at the end."""
    bus = Bus()
    _, inbox = mailbox("log")
    async with nursery_within() as nursery:
        nursery.start_soon(LifecycleLog(path, bus).run, inbox)
        await wait_all_tasks_blocked()
        yield bus
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


async def test_every_event_is_a_line(autojump_clock: MockClock, tmp_path: Path) -> None:
    path = tmp_path / "lifecycle.jsonl"
    async with logging_to(path) as bus:
        bus.publish(StageFinished("web-1", "create", "root disk", 1.25, "copied\nü\x1b"))
        bus.publish(BuildProgress("debian", "", "not a VM's"))
        bus.publish(VmStateChanged("web-1", VmState.RUNNING, ""))
    first, second = lines(path)
    assert first.pop("at") <= second.pop("at")
    assert first == {
        **{"type": "stage-finished", "vm": "web-1", "operation": "create"},
        **{"stage": "root disk", "duration_ms": 1.25, "note": "copied\nü\x1b"},
    }
    assert second == {"type": "vm-state", "vm": "web-1", "state": "running", "reason": ""}


async def test_it_goes_on_after_a_restart(autojump_clock: MockClock, tmp_path: Path) -> None:
    path = tmp_path / "log"
    for name in ("a", "b"):
        async with logging_to(path) as bus:
            bus.publish(VmGone(name))
    assert [line["vm"] for line in lines(path)] == ["a", "b"]


async def test_it_is_bounded(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle_log, "LIMIT_BYTES", 1000)
    path = tmp_path / "log"
    async with logging_to(path) as bus:
        for number in range(200):
            bus.publish(VmGone(str(number)))
            await trio.lowlevel.checkpoint()
    older = tmp_path / "log.1"
    assert {file.name for file in tmp_path.iterdir()} <= {"log", "log.1"}
    assert 1000 <= older.stat().st_size <= 1200
    written = lines(older) + (lines(path) if path.exists() else [])
    numbers = [int(line["vm"]) for line in written]
    assert numbers == list(range(numbers[0], 200))


async def test_flood_says_how_much_was_lost(autojump_clock: MockClock, tmp_path: Path) -> None:
    path = tmp_path / "log"
    async with logging_to(path) as bus:
        for number in range(QUEUE + 10):
            bus.publish(VmGone(str(number)))
    written = lines(path)
    assert sum(line.get("count", 1) for line in written) == QUEUE + 10
    assert any(line["type"] == "lost" for line in written)


async def test_log_that_can_not_be_written_harms_nobody(
    autojump_clock: MockClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "missing" / "log"
    async with logging_to(path) as bus:
        bus.publish(VmGone("a"))
        await wait_all_tasks_blocked()
        assert "misses VmGone" in caplog.text
        path.parent.mkdir()
        bus.publish(VmGone("b"))
    assert [line["vm"] for line in lines(path)] == ["b"]
