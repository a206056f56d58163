"""The event log: what happens, numbered, kept within bounds, and read at any pace."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from banger.actors.event_log import QUEUE, EventLog
from banger.actors.event_ring import EventRing
from banger.host import event_file
from banger.host.event_file import EventFile, read_line, write_line
from banger.kernel.actor import mailbox
from banger.kernel.bus import Bus
from banger.kernel.message import Lost
from banger.model.events import (
    BuildProgress,
    PluginEvent,
    Recorded,
    StageFinished,
    VmGone,
    VmStateChanged,
)
from banger.model.vm import VmState
from tests.unit.nursery import nursery_within


class Logging:
    """An event log at work."""

    def __init__(self, path: Path, ring: EventRing) -> None:
        self.bus = Bus()
        self.ring = ring
        self.log = EventLog(path, self.bus, ring)

    async def publish(self, *events: Any) -> None:
        """Returns when all of them can be read."""
        last = self.ring.last
        for event in events:
            self.bus.publish(event)
        wanted = last + sum(not isinstance(event, BuildProgress) for event in events)
        async for recorded in self.ring.read(last, follow=True):
            if recorded.seq >= wanted:
                return


@asynccontextmanager
async def logging_to(path: Path, ring: EventRing | None = None) -> AsyncIterator[Logging]:
    started = Logging(path, EventRing() if ring is None else ring)
    _, inbox = mailbox("log")
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(started.log.run, inbox)
            await started.ring.filled.wait()
            await wait_all_tasks_blocked()  # it listens to the bus
            yield started
            nursery.cancel_scope.cancel()


async def kept(ring: EventRing, after: int | None = None) -> list[Recorded]:
    return [recorded async for recorded in ring.read(after, follow=False)]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


async def test_every_event_is_a_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    async with logging_to(path) as log:
        await log.publish(
            StageFinished("web-1", "create", "root disk", 1.25, "copied\nü\x1b"),
            BuildProgress("debian", "", "not a VM's"),
            VmStateChanged("web-1", VmState.RUNNING, ""),
        )
    first, second = lines(path)
    assert first.pop("at") <= second.pop("at")
    assert first == {
        **{"seq": 1, "type": "stage-finished", "vm": "web-1", "operation": "create"},
        **{"stage": "root disk", "duration_ms": 1.25, "note": "copied\nü\x1b"},
    }
    state = {"seq": 2, "type": "vm-state", "vm": "web-1", "state": "running", "reason": ""}
    assert second == state


async def test_a_restart_goes_on_with_the_numbers(tmp_path: Path) -> None:
    path = tmp_path / "log"
    for name in ("a", "b"):
        async with logging_to(path) as log:
            await log.publish(VmGone(name))
            found = await kept(log.ring)
    assert [(recorded.seq, recorded.event) for recorded in found] == [
        (1, VmGone("a")),
        (2, VmGone("b")),
    ]


async def test_a_new_actor_goes_on_with_the_same_ring(tmp_path: Path) -> None:
    ring = EventRing()
    for name in ("a", "b"):
        async with logging_to(tmp_path / "log", ring) as log:
            await log.publish(VmGone(name))
    assert [recorded.seq for recorded in await kept(ring)] == [1, 2]


@pytest.mark.parametrize(
    "damage",
    [
        b"\xff\xfe\x00garbage\n",
        b"{}\n",
        b"[1, 2]\n",
        b"3\n",
        b'{"seq":0,"at":1.0,"type":"vm-gone","vm":"a"}\n',
        b'{"seq":"9","at":1.0,"type":"vm-gone","vm":"a"}\n',
        b'{"seq":9,"at":1.0,"type":"of-the-future","vm":"a"}\n',
        b'{"seq":9,"at":1.0,"type":"vm-gone"}\n',
        b'{"at":1.0,"type":"vm-gone","vm":"a"}\n',
        b'{"seq":9,"at":1.0,"type":"vm-g',
        b"[" * 100_000 + b"\n",
        b"\n\n\n",
    ],
)
async def test_damaged_lines_are_passed_over(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "log"
    whole = [write_line(Recorded(seq, 1.0, VmGone(f"v{seq}"))) + b"\n" for seq in (1, 2)]
    path.write_bytes(whole[0] + damage + (b"" if damage.endswith(b"\n") else b"\n") + whole[1])
    with path.open("ab") as file:
        file.write(damage)
    async with logging_to(path) as log:
        await log.publish(VmGone("new"))
    assert [recorded.seq for recorded in EventFile(path).load(100)] == [1, 2, 3]


def test_numbers_only_rise(tmp_path: Path) -> None:
    path = tmp_path / "log"
    written = [write_line(Recorded(seq, 1.0, VmGone("a"))) for seq in (5, 6, 2, 6, 7)]
    path.write_bytes(b"\n".join(written))
    assert [recorded.seq for recorded in EventFile(path).load(100)] == [5, 6, 7]


def test_the_file_is_no_link_and_no_directory(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(write_line(Recorded(1, 1.0, VmGone("a"))) + b"\n")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "directory").mkdir()
    assert EventFile(tmp_path / "link").load(10) == []
    assert EventFile(tmp_path / "directory").load(10) == []
    assert len(EventFile(tmp_path / "real").load(10)) == 1


async def test_it_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_file, "LIMIT_BYTES", 1000)
    path = tmp_path / "log"
    async with logging_to(path) as log:
        for number in range(200):
            await log.publish(VmGone(str(number)))
    older = tmp_path / "log.1"
    assert {file.name for file in tmp_path.iterdir()} <= {"log", "log.1"}
    assert 1000 <= older.stat().st_size <= 1200
    written = lines(older) + (lines(path) if path.exists() else [])
    numbers = [int(line["vm"]) for line in written]
    assert numbers == list(range(numbers[0], 200))
    assert [recorded.seq for recorded in EventFile(path).load(5)] == [196, 197, 198, 199, 200]


async def test_flood_says_how_much_was_lost(tmp_path: Path) -> None:
    path = tmp_path / "log"
    async with logging_to(path) as log:
        for number in range(QUEUE + 10):
            log.bus.publish(VmGone(str(number)))
        while log.ring.last < QUEUE + 1:
            await trio.sleep(0.001)
    written = lines(path)
    assert sum(line.get("count", 1) for line in written) == QUEUE + 10
    assert any(line["type"] == "lost" for line in written)


async def test_log_that_can_not_be_written_harms_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "missing" / "log"
    async with logging_to(path) as log:
        await log.publish(VmGone("a"))
        assert "misses 1 events" in caplog.text
        path.parent.mkdir()
        await log.publish(VmGone("b"))
        assert [recorded.event for recorded in await kept(log.ring)] == [VmGone("a"), VmGone("b")]
    assert [line["vm"] for line in lines(path)] == ["b"]


def test_a_huge_event_is_counted_and_not_kept() -> None:
    huge = Recorded(7, 1.0, PluginEvent("p", "k", {"text": "x" * 100_000}))
    assert read_line(write_line(huge)) == Recorded(7, 1.0, Lost(1))


# --- the ring ---


def ring_of(numbers: range, capacity: int = 100) -> EventRing:
    ring = EventRing(capacity)
    ring.fill([])
    for seq in numbers:
        ring.extend([Recorded(seq, float(seq), VmGone(f"v{seq}"))])
    return ring


async def test_readers_have_places_of_their_own() -> None:
    ring = ring_of(range(1, 6))
    assert [r.seq for r in await kept(ring)] == [1, 2, 3, 4, 5]
    assert [r.seq for r in await kept(ring, after=3)] == [4, 5]
    assert await kept(ring, after=5) == []


async def test_a_number_of_another_installation_reads_all() -> None:
    assert [r.seq for r in await kept(ring_of(range(1, 4)), after=1000)] == [1, 2, 3]


async def test_who_was_away_too_long_is_told(autojump_clock: MockClock) -> None:
    ring = ring_of(range(1, 1001))
    found = await kept(ring, after=1)
    assert isinstance(found[0].event, Lost)
    assert found[0].event.count + len(found) - 1 == 999
    assert found[0].seq + 1 == found[1].seq
    assert found[-1].seq == 1000
    assert 100 <= len(found) - 1 <= 200


async def test_a_slow_follower_is_told_and_slows_nobody(autojump_clock: MockClock) -> None:
    ring = ring_of(range(1, 3))
    seen: list[Recorded] = []

    async def follow() -> None:
        async for recorded in ring.read(None, follow=True):
            seen.append(recorded)
            await trio.sleep(1)

    async with nursery_within() as nursery:
        nursery.start_soon(follow)
        await wait_all_tasks_blocked()
        for seq in range(3, 1001):
            ring.extend([Recorded(seq, 1.0, VmGone("x"))])
        while not seen or seen[-1].seq < 1000:
            await trio.sleep(10)
        nursery.cancel_scope.cancel()
    counted = sum(r.event.count if isinstance(r.event, Lost) else 1 for r in seen)
    assert counted == 1000
    assert sum(isinstance(r.event, Lost) for r in seen) == 1


async def test_readers_wait_until_it_is_filled(autojump_clock: MockClock) -> None:
    ring = EventRing()
    with trio.move_on_after(5) as waiting:
        await kept(ring)
    assert waiting.cancelled_caught
    ring.fill([Recorded(4, 1.0, VmGone("a"))])
    assert [r.seq for r in await kept(ring)] == [4]
