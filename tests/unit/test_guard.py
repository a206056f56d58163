"""Plugin code that raises, exits, waits, blocks or spins."""

from __future__ import annotations

import sys
import time
from collections.abc import Awaitable, Callable, Iterator

import pytest
import trio
import trio.testing

from banger.capabilities import guard
from banger.kernel.errors import Conflict

SHORT_S = 0.1


@pytest.fixture
def alarm() -> Iterator[Callable[[], None]]:
    with guard.alarm_clock(SHORT_S) as wind:
        yield wind


def spin() -> None:
    while True:
        try:
            while True:
                pass
        except Exception:
            sys.stderr.write("a plugin that catches everything\n")


def raises() -> None:
    raise ValueError("broken")


@pytest.mark.parametrize(
    ("work", "reason"),
    [
        (raises, r"raised ValueError\('broken'\) at .*test_guard.py"),
        (lambda: sys.exit(3), r"called sys.exit\(3\)"),
        (lambda: time.sleep(60), "blocked the daemon .* at .*test_guard.py"),
        (spin, "blocked the daemon"),
    ],
)
def test_misbehaviour_is_told(
    alarm: Callable[[], None], work: Callable[[], None], reason: str
) -> None:
    with pytest.raises(guard.Misbehaved, match=reason):
        guard.call(work)


def test_what_is_declared_goes_through() -> None:
    def work() -> None:
        raise Conflict("port 80 is taken")

    with pytest.raises(Conflict, match="port 80"):
        guard.call(work)
    assert guard.call(lambda: 7) == 7


async def exits() -> None:
    sys.exit(1)


async def raises_in_a_nursery() -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        raise ValueError("broken")


async def refuses_in_a_nursery() -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        raise Conflict("taken")


@pytest.mark.parametrize(
    ("work", "reason"),
    [
        (exits, "called sys.exit"),
        (raises_in_a_nursery, "raised ValueError"),
        (trio.sleep_forever, "took longer than 5 s"),
    ],
)
async def test_async_misbehaviour_is_told(
    autojump_clock: trio.testing.MockClock, work: Callable[[], Awaitable[None]], reason: str
) -> None:
    with pytest.raises(guard.Misbehaved, match=reason):
        await guard.call_async(work, deadline_s=5)


async def test_async_declared_errors_go_through() -> None:
    with pytest.raises(Conflict):
        await guard.call_async(refuses_in_a_nursery, deadline_s=5)


async def test_a_cancellation_goes_through() -> None:
    with trio.move_on_after(0) as scope:
        await guard.call_async(trio.sleep_forever, deadline_s=5)
    assert scope.cancelled_caught


async def test_a_blocking_hook_does_not_stop_the_daemon(alarm: Callable[[], None]) -> None:
    async def block() -> None:
        await trio.lowlevel.checkpoint()
        time.sleep(60)

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(guard.keep_wound, alarm, SHORT_S)
            with pytest.raises(guard.Misbehaved, match="blocked the daemon"):
                await guard.call_async(block, deadline_s=60)
            nursery.cancel_scope.cancel()


async def test_bangers_own_code_is_never_interrupted(
    alarm: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    time.sleep(SHORT_S * 2)
    assert "held up at" in caplog.text
