"""The time in which an agent must answer, while its VM is paused and after it."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair

from banger.guest.connection import ANSWER_DEADLINE_S, AgentConnection
from banger.guest.patience import Patience
from banger.kernel.errors import ConnectionLost
from tests.unit.nursery import nursery_within


async def test_it_runs_out(autojump_clock: MockClock) -> None:
    with Patience().limit(30) as scope:
        await trio.sleep_forever()
    assert scope.cancelled_caught
    assert trio.current_time() == pytest.approx(30)


async def test_a_pause_stops_it_and_it_begins_anew(autojump_clock: MockClock) -> None:
    patience = Patience()
    async with nursery_within(10_000) as nursery:

        async def pause_for_an_hour() -> None:
            await trio.sleep(20)
            patience.pause()
            await trio.sleep(3600)
            patience.resume()

        nursery.start_soon(pause_for_an_hour)
        with patience.limit(30) as scope:
            await trio.sleep_forever()
        assert scope.cancelled_caught
        assert trio.current_time() == pytest.approx(20 + 3600 + 30)


async def test_a_question_asked_while_paused_waits(autojump_clock: MockClock) -> None:
    patience = Patience()
    patience.pause()
    ours, theirs = memory_stream_pair()
    connection = AgentConnection(ours, patience)
    with trio.move_on_after(3600):
        await connection.request("GET", "/healthz")
    assert trio.current_time() == pytest.approx(3600)
    patience.resume()
    with pytest.raises(ConnectionLost, match="does not answer"):
        await AgentConnection(memory_stream_pair()[0], patience).request("GET", "/healthz")
    assert trio.current_time() == pytest.approx(3600 + ANSWER_DEADLINE_S)
    await theirs.aclose()
