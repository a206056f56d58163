"""A VM's console on disk: bounded, followed, and no way to flood the host."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path
from typing import cast

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

from banger.actors.console import CHUNK_BYTES, LIMIT_BYTES, RATE_BYTES_S, Console
from banger.vmm.base import Machine
from tests.unit.nursery import nursery_within

KIB = 1 << 10


class Guest:
    """A machine of which there is nothing but the console."""

    def __init__(self) -> None:
        self._host, self.serial = memory_stream_pair()

    async def open_console(self) -> trio.abc.Stream:
        return self._host

    async def print(self, data: bytes) -> None:
        await self.serial.send_all(data)

    @property
    def machine(self) -> Machine:
        return cast("Machine", self)


def kept(directory: Path) -> int:
    return sum(file.stat().st_size for file in directory.glob("console.log*"))


def numbered(size: int) -> bytes:
    """So many bytes, of lines that differ."""
    return b"".join(b"%015d\n" % number for number in range(size // 16))


async def whole(console: Console, *, follow: bool = False, pause_s: float = 0) -> bytes:
    found = b""
    async with aclosing(console.read(follow=follow)) as chunks:
        async for chunk in chunks:
            assert len(chunk) <= CHUNK_BYTES
            found += chunk
            await trio.sleep(pause_s)
    return found


async def test_recorded_and_read(autojump_clock: MockClock, tmp_path: Path) -> None:
    console, guest = Console(tmp_path), Guest()
    assert await whole(console) == b""
    assert console.tail() == ""
    async with nursery_within() as nursery:
        nursery.start_soon(console.record, guest.machine)
        await guest.print(b"Linux version 6.1\r\n\xff\x1b[2J")
        await trio.sleep(1)
        assert await whole(console) == b"Linux version 6.1\r\n\xff\x1b[2J"
        await guest.serial.aclose()
    assert console.tail(5) == "�\x1b[2J"


async def test_rotation_keeps_the_latest_and_no_more(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    console, guest = Console(tmp_path), Guest()
    data = numbered(5 * LIMIT_BYTES + 12345)
    async with nursery_within() as nursery:
        nursery.start_soon(console.record, guest.machine)
        await guest.print(data)
        await guest.serial.aclose()
    found = await whole(console)
    assert data.endswith(found)
    assert LIMIT_BYTES <= len(found) == kept(tmp_path) <= 2 * (LIMIT_BYTES + CHUNK_BYTES)
    names = {file.name for file in tmp_path.glob("console.log*")}
    assert names == {"console.log", "console.log.1"}


async def test_flood_is_slowed(autojump_clock: MockClock, tmp_path: Path) -> None:
    console, guest = Console(tmp_path), Guest()
    async with nursery_within() as nursery:
        nursery.start_soon(console.record, guest.machine)
        await guest.print(bytes(10 * RATE_BYTES_S))
        await trio.sleep(0.5)
        assert kept(tmp_path) <= RATE_BYTES_S // 2 + 2 * CHUNK_BYTES
        begun = trio.current_time()
        await guest.serial.aclose()
    assert trio.current_time() - begun >= 9


async def test_followers_see_what_comes_across_rotations(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    console, guest = Console(tmp_path), Guest()
    data = numbered(3 * LIMIT_BYTES)
    found: dict[str, bytes] = {}

    async def follow(name: str) -> None:
        found[name] = await whole(console, follow=True)

    async with nursery_within() as nursery:
        nursery.start_soon(follow, "from the start")
        nursery.start_soon(console.record, guest.machine)
        await guest.print(data[:1000])
        await trio.sleep(1)
        nursery.start_soon(follow, "later")
        await guest.print(data[1000:])
        await trio.sleep(10)
        nursery.start_soon(follow, "at last")
        await wait_all_tasks_blocked()
        assert not found
        console.end()
        await guest.serial.aclose()
    assert found["from the start"] == found["later"] == data
    assert data.endswith(found["at last"])
    # Ended means ended: nobody waits any more.
    assert data.endswith(await whole(console, follow=True))


async def test_slow_reader_is_given_what_was_there_when_it_came(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    console, guest = Console(tmp_path), Guest()
    data = numbered(2 * LIMIT_BYTES)
    late = b"later\n" * (LIMIT_BYTES // 4)
    found = b""

    async with nursery_within() as nursery:
        nursery.start_soon(console.record, guest.machine)
        await guest.print(data[: LIMIT_BYTES * 3 // 2])
        await trio.sleep(10)

        async def read_slowly() -> None:
            nonlocal found
            found = await whole(console, pause_s=0.1)

        nursery.start_soon(read_slowly)
        await trio.sleep(0.05)
        await guest.print(late)
        await guest.serial.aclose()
    assert found.startswith(data[: LIMIT_BYTES * 3 // 2])


async def test_reader_that_leaves_and_reader_of_a_vm_that_is_no_more(tmp_path: Path) -> None:
    console = Console(tmp_path / "gone")
    console.end()
    assert await whole(console, follow=True) == b""
    (tmp_path / "console.log").write_bytes(bytes(5 * CHUNK_BYTES))
    with pytest.raises(ZeroDivisionError):
        async with aclosing(Console(tmp_path).read(follow=True)) as chunks:
            async for _ in chunks:
                raise ZeroDivisionError


async def test_what_an_earlier_daemon_recorded_is_continued(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    (tmp_path / "console.log").write_bytes(b"before ")
    console, guest = Console(tmp_path), Guest()
    async with nursery_within() as nursery:
        nursery.start_soon(console.record, guest.machine)
        await guest.print(b"after")
        await guest.serial.aclose()
    assert await whole(console) == b"before after"


async def test_nothing_is_kept_where_nothing_can_be(
    autojump_clock: MockClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A full disk must not take the VM down with it."""
    console, guest = Console(tmp_path / "missing"), Guest()
    async with nursery_within() as nursery:
        nursery.start_soon(console.record, guest.machine)
        await guest.print(b"unkept")
        await guest.serial.aclose()
    assert "not kept" in caplog.text


async def test_console_that_does_not_open(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Mute:
        async def open_console(self) -> trio.abc.Stream:
            raise ConnectionRefusedError("nobody there")

    await Console(tmp_path).record(cast("Machine", Mute()))
    assert "no console: nobody there" in caplog.text


async def recorded(
    directory: Path, monkeypatch: pytest.MonkeyPatch, *pieces: tuple[float, bytes]
) -> Console:
    """A console that got each piece at its time."""
    console, guest = Console(directory), Guest()
    now = 0.0
    monkeypatch.setattr("time.time", lambda: now)
    async with nursery_within() as nursery:
        nursery.start_soon(console.record, guest.machine)
        for at, data in pieces:
            now = at
            await guest.print(data)
            await trio.sleep(1)  # longer than the recording takes
        await guest.serial.aclose()
    return console


async def since(console: Console, at: float) -> bytes:
    return b"".join([chunk async for chunk in console.read(follow=False, since=at)])


async def test_since(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pieces = [(100.0, b"a"), (100.5, b"b"), (200.0, b"c"), (200.9, b"d"), (300.0, b"e")]
    console = await recorded(tmp_path, monkeypatch, *pieces)
    assert await since(console, 0) == b"abcde"
    assert await since(console, 150) == b"cde"
    assert await since(console, 200.9) == b"cde"
    assert await since(console, 250) == b"e"
    assert await since(console, 301.5) == b""
    (tmp_path / "console.times").unlink()
    assert await since(console, 250) == b"abcde"


async def test_since_goes_over_both_files(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flood = [(100.0 + number, b"x" * (300 * KIB)) for number in range(4)]
    console = await recorded(tmp_path, monkeypatch, *flood, (500.0, b"late"))
    assert {file.name for file in tmp_path.iterdir()} == {
        *("console.log", "console.log.1", "console.times", "console.times.1")
    }
    assert await since(console, 400) == b"late"
    assert len(await since(console, 0)) == 4 * 300 * KIB + 4


async def test_a_clock_set_back_and_torn_times_harm_nothing(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    console = await recorded(tmp_path, monkeypatch, (500.0, b"a"), (100.0, b"b"), (101.5, b"c"))
    times = tmp_path / "console.times"
    times.write_bytes(times.read_bytes() + b"torn")
    assert await since(console, 501) == b"abc"
    assert await since(console, 600) == b""
