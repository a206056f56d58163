"""Calls over a real UNIX socket: many at once, streams, input, cancelling, errors."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from banger.kernel import rpc, wire
from banger.kernel.errors import BangerError, Busy, NotFound, UsageError
from banger.kernel.rpc import Peer
from tests.unit.rpc_service import (
    Big,
    Chunk,
    Client,
    Count,
    Echo,
    Fail,
    Hang,
    Pour,
    Service,
    Unrelated,
    serving,
)


async def test_hello_comes_first_and_the_peer_is_known(tmp_path: Path) -> None:
    async with serving(tmp_path) as service:
        client = await service.dial()
        assert await client.receive() == service.server.hello
        assert await client.ask(Echo("hei")) == "hei"
        groups = frozenset(os.getgroups()) | {os.getgid()}
        assert service.peers == {Peer(os.getpid(), os.getuid(), os.getgid(), groups)}


async def test_many_calls_in_flight_are_told_apart(tmp_path: Path) -> None:
    async with serving(tmp_path) as service:
        client = await service.connect()
        ids = [7, 0, 2**62, *range(100, 300)]
        await client.call(1, Hang())
        await client.send(*(wire.Call(i, wire.raw(Echo(f"text {i}"))) for i in ids))
        replies = [await client.receive() for _ in ids]
        assert sorted(replies, key=lambda reply: ids.index(getattr(reply, "id", -1))) == [
            wire.Done(i, wire.raw(f"text {i}")) for i in ids
        ]
        await client.send(wire.Cancel(1))
        assert "cancelled" in (await client.error(1)).message


async def test_id_is_free_again_as_soon_as_its_reply_is_here(tmp_path: Path) -> None:
    async with serving(tmp_path) as service:
        client = await service.connect()
        for number in range(300):
            assert await client.ask(Echo(str(number)), call_id=5) == str(number)


# --- streams ---


async def test_items_come_before_the_result(tmp_path: Path) -> None:
    async with serving(tmp_path) as service:
        client = await service.connect()
        await client.call(1, Count(50, size=100_000))
        items = [await client.receive() for _ in range(50)]
        assert items == [wire.Item(1, wire.raw(bytes(100_000)))] * 50
        assert await client.result(1) == 50


async def test_input_is_consumed_and_credited(tmp_path: Path) -> None:
    async with serving(tmp_path) as service:
        client = await service.connect()
        await client.call(1, Pour())
        await client.feed(1, Chunk(b"abc"), Chunk(b"de"), Chunk(b""))
        credited = [await client.receive() for _ in range(3)]
        sizes = [len(bytes(wire.raw(Chunk(data)))) for data in (b"abc", b"de", b"")]
        assert credited == [wire.Credit(1, size) for size in sizes]
        assert await client.result(1) == 5


async def test_input_flows_without_end_within_the_window(tmp_path: Path) -> None:
    async with serving(tmp_path) as service:
        client = await service.connect()
        await client.call(1, Pour())
        chunk = Chunk(bytes(60_000))
        size = len(bytes(wire.raw(chunk)))
        window = wire.FEED_WINDOW_BYTES
        for _ in range(100):
            while window < size:
                credit = await client.receive()
                assert isinstance(credit, wire.Credit)
                window += credit.count
            await client.feed(1, chunk)
            window -= size
        await client.feed(1, Chunk(b""))
        while isinstance(reply := await client.receive(), wire.Credit):
            pass
        assert reply == wire.Done(1, wire.raw(6_000_000))


async def test_input_up_to_the_window_waits_for_a_slow_call(tmp_path: Path) -> None:
    async with serving(tmp_path) as service:
        client = await service.connect()
        await client.call(1, Pour(gate=True))
        overhead = len(bytes(wire.raw(Chunk(bytes(1 << 16))))) - (1 << 16)
        end = len(bytes(wire.raw(Chunk(b""))))
        fill = Chunk(bytes(wire.FEED_WINDOW_BYTES - overhead - end))
        await client.feed(1, fill, Chunk(b""))
        await wait_all_tasks_blocked(0.01)
        service.gate.set()
        assert isinstance(await client.receive(), wire.Credit)
        assert isinstance(await client.receive(), wire.Credit)
        assert await client.result(1) == len(fill.data)


async def test_input_beyond_the_window_disconnects(tmp_path: Path) -> None:
    async with serving(tmp_path) as service:
        other = await service.connect()
        client = await service.connect()
        await client.call(1, Pour(gate=True))
        for _ in range(5):
            await client.feed(1, Chunk(bytes(wire.FEED_WINDOW_BYTES // 5)))
        await client.expect_disconnect()
        assert await other.ask(Echo("still here")) == "still here"


@pytest.mark.parametrize("item", [{"type": "chunk", "data": 5}, {"type": "?"}, None, [[[]]]])
async def test_input_that_does_not_fit_fails_the_call_alone(item: object, tmp_path: Path) -> None:
    async with serving(tmp_path) as service:
        client = await service.connect()
        await client.call(1, Pour())
        await client.feed(1, item)
        assert isinstance(await client.error(1), UsageError)
        assert await client.ask(Echo("on")) == "on"


async def test_messages_for_calls_that_are_not_are_ignored(tmp_path: Path) -> None:
    async with serving(tmp_path) as service:
        client = await service.connect()
        assert await client.ask(Echo("x")) == "x"
        await client.send(wire.Cancel(1), wire.Cancel(99))
        await client.feed(1, Unrelated(), Chunk(bytes(wire.FEED_WINDOW_BYTES)), Chunk(b"more"))
        assert await client.ask(Echo("on")) == "on"


# --- cancelling and leaving ---


async def test_cancel_ends_the_handler(tmp_path: Path) -> None:
    async with serving(tmp_path) as service:
        client = await service.connect()
        await client.send(wire.Call(1, wire.raw(Hang())), wire.Cancel(1))
        assert "cancelled" in (await client.error(1)).message
        await client.call(2, Count(1 << 30))
        assert isinstance(await client.receive(), wire.Item)
        await client.send(wire.Cancel(2))
        while isinstance(await client.receive(), wire.Item):
            pass
        assert service.active == 0


@pytest.mark.parametrize("then", ["bug", "bug in a nursery", "declared"])
@pytest.mark.parametrize("how", ["cancel", "leave", "shutdown"])
async def test_failing_while_cancelled_hurts_nobody_else(
    how: str, then: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(tmp_path) as service:
        client = await service.connect()
        other = await service.connect()
        await client.call(1, Hang(then=then))
        while not service.active:
            await trio.lowlevel.checkpoint()
        if how == "cancel":
            await client.send(wire.Cancel(1))
            assert "cancelled" in (await client.error(1)).message
            assert await client.ask(Echo("on"), call_id=2) == "on"
        elif how == "leave":
            await client.stream.aclose()
            while service.active:
                await trio.lowlevel.checkpoint()
        if how != "shutdown":
            assert await other.ask(Echo("on")) == "on"
    assert ("a cancelled call failed unexpectedly" in caplog.text) is (then != "declared")


@pytest.mark.parametrize("reading", [True, False])
async def test_client_that_vanishes_takes_its_calls_along(reading: bool, tmp_path: Path) -> None:
    async with serving(tmp_path) as service:
        client = await service.connect()
        for call_id in range(100):
            await client.call(call_id, Hang())
        if not reading:
            await client.call(200, Count(1 << 30, size=10_000))
        while service.active < 100:
            await trio.lowlevel.checkpoint()
        await client.stream.aclose()
        while service.active:
            await trio.lowlevel.checkpoint()


# --- errors ---


@pytest.mark.parametrize("how", ["declared", "declared in a nursery"])
async def test_declared_errors_arrive_as_they_are(
    how: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(tmp_path) as service:
        client = await service.connect()
        await client.call(1, Fail(how))
        error = await client.error(1)
        assert type(error) is NotFound
        assert (error.message, error.hint) == ("no such thing", "look elsewhere")
    assert "unexpectedly" not in caplog.text


@pytest.mark.parametrize("how", ["bug", "bug in a nursery", "huge bug"])
async def test_bugs_are_reported_and_logged(
    how: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(tmp_path) as service:
        client = await service.connect()
        await client.call(1, Fail(how))
        error = await client.error(1)
        assert type(error) is BangerError
        assert error.message.startswith("internal error: ")
        assert error.hint == "the daemon's log has the traceback"
        assert await client.ask(Echo("on")) == "on"
    assert "a call failed unexpectedly" in caplog.text
    assert "Traceback" in caplog.text


async def test_error_about_a_file_name_that_is_no_text(tmp_path: Path) -> None:
    async with serving(tmp_path) as service:
        client = await service.connect()
        await client.call(1, Fail("unprintable"))
        error = await client.error(1)
        assert type(error) is NotFound
        assert error.message == r"file \udcff is missing"


@pytest.mark.parametrize("stream", [False, True])
async def test_oversized_result_or_item_is_an_error(stream: bool, tmp_path: Path) -> None:
    async with serving(tmp_path) as service:
        client = await service.connect()
        await client.call(1, Big(wire.FRAME_LIMIT_BYTES, stream))
        assert "over the limit" in (await client.error(1)).message
        fits = await client.ask(Big(wire.FRAME_LIMIT_BYTES - 100))
        assert len(fits) == wire.FRAME_LIMIT_BYTES - 100


REFUSED = {
    "unknown kind": wire.raw({"type": "shout"}),
    "unknown field": wire.raw({"type": "echo", "text": "", "x": 1}),
    "wrong type": wire.raw({"type": "echo", "text": 5}),
    "nil": wire.raw(None),
}


@pytest.mark.parametrize("kind", REFUSED)
async def test_bad_request_is_the_caller_s_error(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(tmp_path) as service:
        client = await service.connect()
        await client.send(wire.Call(1, REFUSED[kind]))
        assert isinstance(await client.error(1), UsageError)
        assert await client.ask(Echo("on")) == "on"
        assert service.served == 1
    assert "unexpectedly" not in caplog.text


# --- load ---


async def test_calls_over_the_limit_are_told_so(tmp_path: Path) -> None:
    async with serving(tmp_path) as service:
        client = await service.connect()
        for call_id in range(rpc.CALLS_PER_CONNECTION):
            await client.call(call_id, Hang())
        await client.call(1000, Echo("one too many"))
        assert isinstance(await client.error(1000), Busy)
        await client.send(wire.Cancel(3))
        assert "cancelled" in (await client.error(3)).message
        assert await client.ask(Echo("now"), call_id=1000) == "now"


async def test_ping_stays_quick_beside_a_thousand_calls(tmp_path: Path) -> None:
    async with serving(tmp_path) as service:
        pinging = await service.connect()
        done = 0

        async def ask_many(client: Client) -> None:
            nonlocal done
            for call_id in range(200):
                await client.call(call_id, Count(5, size=1000))
            left = 200
            while left:
                left -= isinstance(await client.receive(), wire.Done)
            done += 200

        slowest_s = 0.0
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(ask_many, await service.connect())
            while done < 1000:
                before = trio.current_time()
                assert await pinging.ask(Echo("ping")) == "ping"
                slowest_s = max(slowest_s, trio.current_time() - before)
        assert slowest_s < 1


async def test_slow_reader_slows_nobody_else(tmp_path: Path) -> None:
    async with serving(tmp_path) as service:
        slow = await service.connect()
        await slow.call(1, Count(200, size=100_000))
        await wait_all_tasks_blocked(0.01)
        quick = await service.connect()
        for _ in range(100):
            with trio.fail_after(1):
                assert await quick.ask(Echo("x")) == "x"
        for _ in range(200):
            assert isinstance(await slow.receive(), wire.Item)
        assert await slow.result(1) == 200


async def test_client_that_never_reads_is_not_served_without_limit(tmp_path: Path) -> None:
    async with serving(tmp_path) as service:
        client = await service.connect()
        total = 3000
        text = "x" * 4000

        async def send() -> None:
            for call_id in range(total):
                await client.call(call_id, Echo(text))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            await wait_all_tasks_blocked(0.05)
            assert service.served < 1000
            answered = [await client.receive() for _ in range(total)]
        done = sum(isinstance(reply, wire.Done) for reply in answered)
        busy = sum(isinstance(reply, wire.Failed) for reply in answered)
        assert done + busy == total
        assert done == service.served


async def test_shutdown_is_prompt_with_calls_and_unread_data(tmp_path: Path) -> None:
    async with serving(tmp_path) as service:
        clients = [await service.connect() for _ in range(10)]
        for client in clients:
            await client.call(1, Hang())
            await client.call(2, Count(1 << 30, size=10_000))
        await wait_all_tasks_blocked(0.01)
        for client in clients:
            await client.call(3, Echo("not read any more"))
        with trio.fail_after(1):
            await service.stop()
        assert service.active == 0
        for client in clients:
            await client.expect_disconnect()


async def test_service_is_a_context_of_its_own(tmp_path: Path) -> None:
    """The fixture itself: it serves, and it is gone afterwards."""
    async with serving(tmp_path) as service:
        assert isinstance(service, Service)
    with pytest.raises(ConnectionRefusedError):
        await trio.open_unix_socket(service.path)
