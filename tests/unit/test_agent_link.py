"""The channels to an agent: kept, given back, resynchronised, never all blocked."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

from banger.guest import agent
from banger.guest.link import BUSY_AFTER_S, AgentLink
from banger.kernel.errors import Busy, ConnectionLost, GuestError, NotFound
from tests.unit.fake_agent import Canned, FakeAgent, reply
from tests.unit.nursery import nursery_within


class Guest:
    """A fake agent behind every channel; knows which were dialled and which are open."""

    def __init__(self, nursery: trio.Nursery, channels: int = 3) -> None:
        self._nursery = nursery
        self.agent = FakeAgent()
        self.dialled: list[int] = []
        self.open: set[int] = set()
        self.link = AgentLink(self.dial, channels)

    async def dial(self, channel: int) -> trio.abc.Stream:
        self.dialled.append(channel)
        ours, theirs = memory_stream_pair()
        self._nursery.start_soon(self._serve, channel, theirs)
        return ours

    async def _serve(self, channel: int, stream: trio.abc.Stream) -> None:
        self.open.add(channel)
        await self.agent.serve(stream)
        self.open.discard(channel)

    async def hold(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take a session until cancelled."""
        async with self.link.session():
            task_status.started()
            await trio.sleep_forever()


async def test_connections_are_kept(autojump_clock: MockClock) -> None:
    async with nursery_within() as nursery:
        guest = Guest(nursery)
        for _ in range(5):
            await agent.health(guest.link)
        assert guest.dialled == [0]
        for _ in range(4):
            await agent.make_directory(guest.link, "/d", mode=0o755, user="root")
        # One at a time: always on the channel where the guest has just been.
        assert sorted(guest.dialled) == [0, 1]
        nursery.cancel_scope.cancel()


async def test_untouched_channels_are_believed_once(autojump_clock: MockClock) -> None:
    asked: list[bytes] = []

    class Asked(Canned):
        async def send_all(self, data: bytes | bytearray | memoryview) -> None:
            asked.append(bytes(data))
            await super().send_all(data)

    async def dial(channel: int) -> trio.abc.Stream:
        known = reply(200, b"{}", X_Request_Id="{id}")
        return Asked([reply(200, b'{"applied":[]}')] if not asked else [known, reply(200)])

    link = AgentLink(dial, 2, untouched=True)
    await agent.check_configured(link)
    assert asked[0].startswith(b"GET /v1/configured ")
    with pytest.raises(ConnectionLost):
        await agent.check_configured(link)
    del asked[1:]
    await agent.check_configured(link)
    assert asked[1].startswith(b"GET /healthz ")


async def test_declared_failures_keep_the_connection(autojump_clock: MockClock) -> None:
    async with nursery_within() as nursery:
        guest = Guest(nursery, channels=2)
        for _ in range(3):
            with pytest.raises(NotFound):
                await agent.list_directory(guest.link, "/missing")
        assert guest.dialled == [1]
        nursery.cancel_scope.cancel()


async def test_busy_when_all_are_taken(autojump_clock: MockClock) -> None:
    async with nursery_within() as nursery:
        guest = Guest(nursery)
        async with trio.open_nursery() as holders:
            for _ in range(2):
                await holders.start(guest.hold)
            begun = trio.current_time()
            with pytest.raises(Busy, match="all 2 channels"):
                await agent.list_directory(guest.link, "/")
            assert trio.current_time() - begun == pytest.approx(BUSY_AFTER_S)
            # Short requests have their own.
            await agent.health(guest.link)
            holders.cancel_scope.cancel()
        await agent.list_directory(guest.link, "/")
        nursery.cancel_scope.cancel()


async def test_who_waits_gets_the_channel_that_is_freed(autojump_clock: MockClock) -> None:
    async with nursery_within() as nursery:
        guest = Guest(nursery, channels=2)

        async def make(path: str) -> None:
            await agent.make_directory(guest.link, path, mode=0o700, user="root")

        async with trio.open_nursery() as waiting, trio.open_nursery() as holders:
            await holders.start(guest.hold)
            for number in range(5):
                waiting.start_soon(make, f"/{number}")
            await trio.sleep(BUSY_AFTER_S / 2)
            assert guest.agent.directories.keys() == {"/"}
            holders.cancel_scope.cancel()
        assert len(guest.agent.directories) == 6
        nursery.cancel_scope.cancel()


async def test_control_is_one_after_another(autojump_clock: MockClock) -> None:
    async with nursery_within() as nursery:
        guest = Guest(nursery)
        async with trio.open_nursery() as askers:
            for _ in range(50):
                askers.start_soon(agent.health, guest.link)
        assert guest.dialled == [0]
        nursery.cancel_scope.cancel()


async def test_cancelled_user_closes_and_the_next_resynchronises(
    autojump_clock: MockClock,
) -> None:
    async with nursery_within() as nursery:
        guest = Guest(nursery, channels=2)
        with trio.move_on_after(1):
            async with guest.link.session() as connection:
                await connection.begin("PUT", "/v1/files?path=/f&mode=0644", headers=(), length=9)
                await trio.sleep_forever()
        await wait_all_tasks_blocked()
        assert guest.open == set()
        await agent.list_directory(guest.link, "/")
        assert guest.dialled == [1, 1]
        assert guest.agent.requests.count("GET /healthz") == 2
        nursery.cancel_scope.cancel()


async def test_cancelled_while_dialling_or_resynchronising(autojump_clock: MockClock) -> None:
    dialled: list[int] = []

    async def dial(channel: int) -> trio.abc.Stream:
        dialled.append(channel)
        if len(dialled) == 1:
            await trio.sleep_forever()
        ours, theirs = memory_stream_pair()
        nursery.start_soon(never, theirs)
        return ours

    async def never(stream: trio.abc.Stream) -> None:
        while await stream.receive_some():
            pass

    async with nursery_within() as nursery:
        link = AgentLink(dial, 2)
        for _ in range(3):
            with trio.move_on_after(1) as scope:
                await agent.list_directory(link, "/")
            assert scope.cancelled_caught
        # Each gave its channel back.
        assert dialled == [1, 1, 1]
        nursery.cancel_scope.cancel()


async def test_unreachable_agent() -> None:
    async def dial(channel: int) -> trio.abc.Stream:
        raise ConnectionRefusedError("nobody listens")

    link = AgentLink(dial, 2)
    for _ in range(3):
        with pytest.raises(ConnectionLost, match="nobody listens"):
            await agent.list_directory(link, "/")
        with pytest.raises(ConnectionLost):
            await agent.health(link)


async def test_broken_connection_is_replaced() -> None:
    streams = [
        Canned([reply(200, b"{}", X_Request_Id="{id}"), b"garbage\r\n\r\n"]),
        Canned([b"no http {id}"]),
        Canned([reply(200, b"{}", X_Request_Id="{id}"), reply(200, b'{"entries":[]}')]),
    ]
    dialled = iter(streams)

    async def dial(channel: int) -> trio.abc.Stream:
        return next(dialled)

    link = AgentLink(dial, 2)
    for _ in range(2):
        with pytest.raises(GuestError):
            await agent.list_directory(link, "/")
    assert await agent.list_directory(link, "/") == []
    assert [stream.closed for stream in streams] == [True, True, False]


async def test_reset_drops_idle_connections_and_interrupts_the_others(
    autojump_clock: MockClock,
) -> None:
    async with nursery_within() as nursery:
        guest = Guest(nursery, channels=2)
        await agent.health(guest.link)

        async def wait_for_output() -> None:
            with pytest.raises(ConnectionLost):
                async with guest.link.session() as connection:
                    await connection.upgrade(
                        "/v1/exec", "banger-exec", b'{"argv": ["sleep", "1000"]}'
                    )
                    await connection.receive_raw()

        async with trio.open_nursery() as waiting:
            waiting.start_soon(wait_for_output)
            await wait_all_tasks_blocked()
            await guest.link.reset()
        await wait_all_tasks_blocked()
        assert guest.open == set()
        await guest.link.reset()
        await agent.health(guest.link)
        await agent.list_directory(guest.link, "/")
        assert guest.dialled == [0, 1, 0, 1]
        nursery.cancel_scope.cancel()
