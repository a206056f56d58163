"""The frames of a running command, against agents that follow the protocol and others."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest
import trio
from trio.testing import MemoryReceiveStream, MemorySendStream, MockClock, wait_all_tasks_blocked

from banger.guest.connection import AgentConnection, AgentFailure
from banger.guest.exec import (
    PAYLOAD_LIMIT_BYTES,
    STDIN_WINDOW_BYTES,
    ExecSession,
    open_exec,
)
from banger.guest.link import AgentLink
from banger.kernel.errors import (
    BangerError,
    CommandNotFound,
    ConnectionLost,
    GuestError,
    NotExecutable,
)
from banger.model.requests.exec import ErrorOutput, Exec, ExecResult, Output
from tests.unit.fake_agent import (
    EXIT,
    RESIZE,
    SIGNAL,
    STDERR,
    STDIN,
    STDIN_CREDIT,
    STDIN_EOF,
    STDOUT,
    SWITCHING,
    USER,
    Canned,
    agent_link,
    exit_frame,
    frame,
    reply,
)

HEALTH = reply(200, b"{}", X_Request_Id="{id}")
CREDIT = struct.Struct(">I")


def session(*pieces: bytes) -> ExecSession:
    """A session whose agent sends these pieces, then hangs up."""
    return ExecSession(AgentConnection(Canned(pieces)), b"")


async def everything(running: ExecSession) -> list[Output | ErrorOutput]:
    return [output async for output in running.outputs()]


async def run_quietly(link: AgentLink, *argv: str) -> ExecResult:
    """Run a command to its end, its output thrown away."""
    async with open_exec(link, Exec("guest", list(argv))) as running:
        await running.end_input()
        await everything(running)
        assert running.result is not None
        return running.result


# --- both agents ---


@asynccontextmanager
async def started(link: AgentLink, *argv: str, timeout_s: float = 0) -> AsyncIterator[ExecSession]:
    request = Exec("guest", list(argv), user=USER, timeout_s=timeout_s)
    async with open_exec(link, request) as running:
        yield running


async def finish(running: ExecSession) -> tuple[bytes, ExecResult]:
    written = b"".join([output.data async for output in running.outputs()])
    assert running.result is not None
    return written, running.result


@pytest.mark.parametrize("kind", ["fake", "real"])
async def test_commands(kind: str) -> None:
    async with agent_link(kind) as link:
        async with started(link, "echo", "one", "two") as running:
            assert await finish(running) == (b"one two\n", ExecResult(0, 0, False))
        async with started(link, "false") as running:
            assert await finish(running) == (b"", ExecResult(1, 0, False))
        async with started(link, "sleep", "1000") as running:
            await running.signal(15)
            assert await finish(running) == (b"", ExecResult(-1, 15, False))
        with pytest.raises(CommandNotFound):
            async with started(link, "no-such-command"):
                pass
        async with started(link, "echo", "on the same channel") as running:
            assert (await finish(running))[1].code == 0


@pytest.mark.parametrize("kind", ["fake", "real"])
async def test_much_input_within_the_window(kind: str) -> None:
    data = bytes(range(256)) * 4096
    async with agent_link(kind) as link, started(link, "cat") as running:

        async def feed() -> None:
            await running.send_input(data)
            await running.end_input()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(feed)
            assert await finish(running) == (data, ExecResult(0, 0, False))


@pytest.mark.parametrize("kind", ["fake", "real"])
async def test_abandoned_command_leaves_the_channel_usable(kind: str) -> None:
    async with agent_link(kind, channels=2) as link:
        with trio.move_on_after(0.1):
            async with started(link, "sleep", "1000") as running:
                await finish(running)
        with pytest.raises(ZeroDivisionError):
            async with started(link, "cat") as running:
                raise ZeroDivisionError
        async with started(link, "echo", "next") as running:
            assert (await finish(running))[0] == b"next\n"


# --- what the agent sends ---

WHOLE = (
    frame(STDOUT, b"out")
    + frame(STDIN_CREDIT, CREDIT.pack(0))
    + frame(STDERR, b"err")
    + frame(STDOUT)
    + frame(STDOUT, bytes(PAYLOAD_LIMIT_BYTES))
    + exit_frame(7)
)
SHORT = frame(STDOUT, b"out") + frame(STDERR, b"\x1b[2J") + exit_frame(7)


@pytest.mark.parametrize("size", [1 << 20, 4096, 1000])
async def test_frames_in_pieces(size: int) -> None:
    running = session(*(WHOLE[at : at + size] for at in range(0, len(WHOLE), size)))
    expected: list[Output | ErrorOutput] = [
        *(Output(b"out"), ErrorOutput(b"err"), Output(b"")),
        Output(bytes(PAYLOAD_LIMIT_BYTES)),
    ]
    assert await everything(running) == expected
    assert running.result == ExecResult(7, 0, False)


async def test_frames_behind_the_reply() -> None:
    for at in range(len(SHORT)):
        running = ExecSession(AgentConnection(Canned([SHORT[at:]])), SHORT[:at])
        assert len(await everything(running)) == 2


async def test_end_in_the_middle_of_everything() -> None:
    for at in range(len(SHORT)):
        running = session(SHORT[:at])
        with pytest.raises(ConnectionLost):
            await everything(running)
        assert running.result is None


BROKEN = {
    "unknown type": frame(0x15),
    "the host's type": frame(STDIN, b"x"),
    "a reply": reply(),
    "zeros": bytes(100),
    "over the limit": struct.pack(">BI", STDOUT, PAYLOAD_LIMIT_BYTES + 1),
    "far over the limit": b"\x11\xff\xff\xff\xff",
    "credit of a wrong size": frame(STDIN_CREDIT, b"\0"),
    "credit of nothing": frame(STDIN_CREDIT),
    "credit unasked": frame(STDIN_CREDIT, CREDIT.pack(1)),
    "absurd credit": frame(STDIN_CREDIT, b"\xff\xff\xff\xff"),
    "no exit report": frame(EXIT),
    "exit not json": frame(EXIT, b"0"),
    "exit not utf-8": frame(EXIT, b'{"\xffcode":0,"signal":0,"timed_out":false}'),
    "exit nested deeply": frame(EXIT, b"[" * 60_000),
    "exit of wrong type": frame(EXIT, b'{"code":"0","signal":0,"timed_out":false}'),
    "exit incomplete": frame(EXIT, b'{"code":0}'),
    "code out of range": exit_frame(code=256),
    "code below range": exit_frame(code=-2),
    "code out of this world": exit_frame(code=10**30),
    "signal out of range": exit_frame(-1, signal=65),
    "negative signal": exit_frame(-1, signal=-1),
    "data after the exit": exit_frame() + b"x",
    "exit twice": exit_frame() * 2,
    "reply after the exit": exit_frame() + reply(),
}


@pytest.mark.parametrize("broken", BROKEN)
async def test_broken_protocol(broken: str) -> None:
    running = session(frame(STDOUT, b"out") + BROKEN[broken], bytes(PAYLOAD_LIMIT_BYTES))
    with pytest.raises(GuestError):
        await everything(running)


@pytest.mark.parametrize("broken", BROKEN)
async def test_broken_protocol_ends_the_connection_alone(broken: str) -> None:
    streams = [
        Canned([HEALTH, SWITCHING + BROKEN[broken]]),
        Canned([HEALTH, SWITCHING + exit_frame(3)]),
    ]
    dialled = iter(streams)

    async def dial(channel: int) -> trio.abc.Stream:
        return next(dialled)

    link = AgentLink(dial, 2)
    with pytest.raises(BangerError):
        await run_quietly(link, "true")
    assert streams[0].closed
    assert (await run_quietly(link, "true")).code == 3
    assert not streams[1].closed


async def test_exit_report_of_a_newer_agent_is_refused_or_read_but_never_a_bug() -> None:
    running = session(frame(EXIT, b'{"code":0,"signal":0,"timed_out":false,"more":1}'))
    try:
        await everything(running)
    except GuestError:
        assert running.result is None


# --- starting ---


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (422, b'{"error":"can\'t execute ls: none","errno":2}', CommandNotFound),
        (422, b'{"error":"can\'t execute ls: no","errno":13}', NotExecutable),
        (422, b'{"error":"can\'t execute ls: what","errno":8}', NotExecutable),
        (422, b'{"error":"out of memory","errno":12}', AgentFailure),
        (422, b'{"error":"no user","errno":0}', AgentFailure),
        (500, b"", AgentFailure),
        (200, b"{}", GuestError),
        (404, b"", BangerError),
    ],
)
async def test_command_that_does_not_start(
    status: int, body: bytes, expected: type[BangerError]
) -> None:
    async def dial(channel: int) -> trio.abc.Stream:
        return Canned([HEALTH, reply(status, body)])

    with pytest.raises(expected):
        await run_quietly(AgentLink(dial, 2), "ls")


async def test_what_is_asked_for() -> None:
    stream = Canned([HEALTH, SWITCHING + exit_frame()])

    async def dial(channel: int) -> trio.abc.Stream:
        return stream

    request = Exec(
        *("guest", ["printf", 'a"\x1b']),
        env={"A": "b"},
        cwd="/tmp",
        user="u",
        tty=True,
        rows=5,
        cols=6,
        timeout_s=1.5,
    )
    async with open_exec(AgentLink(dial, 2), request) as running:
        await everything(running)
    body = msgspec.json.decode(stream.sent.split(b"\r\n\r\n")[-1])
    assert body == {
        **{"argv": ["printf", 'a"\x1b'], "env": {"A": "b"}, "cwd": "/tmp", "user": "u"},
        **{"tty": True, "rows": 5, "cols": 6, "timeout_ms": 1500},
    }


# --- input ---


class Guest:
    """The agent's end of a session, by hand."""

    def __init__(self) -> None:
        to_guest, self._received = trio.testing.memory_stream_one_way_pair()
        self._sent, from_guest = trio.testing.memory_stream_one_way_pair()
        self.host: trio.StapledStream[MemorySendStream, MemoryReceiveStream]
        self.host = trio.StapledStream(to_guest, from_guest)
        self.running = ExecSession(AgentConnection(self.host), b"")
        self.taken = bytearray()

    async def send(self, data: bytes) -> None:
        await self._sent.send_all(data)

    async def so_far(self) -> bytes:
        """All that has come, once nobody moves any more."""
        await wait_all_tasks_blocked()
        while True:
            with trio.move_on_after(0.001):
                self.taken += await self._received.receive_some()
                continue
            return bytes(self.taken)

    async def hang_up(self) -> None:
        await self._sent.aclose()
        await self._received.aclose()


async def test_input_waits_for_credit_and_signals_overtake_it(autojump_clock: MockClock) -> None:
    guest = Guest()
    data = bytes(STDIN_WINDOW_BYTES + 5)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(everything, guest.running)
            nursery.start_soon(guest.running.send_input, data)
            full = frame(STDIN, bytes(PAYLOAD_LIMIT_BYTES)) * 4
            assert await guest.so_far() == full
            await guest.running.signal(2)
            await guest.running.resize(24, 80)
            control = frame(SIGNAL, b"\x02") + frame(RESIZE, b"\0\x18\0\x50")
            assert await guest.so_far() == full + control
            await guest.send(frame(STDIN_CREDIT, CREDIT.pack(4)))
            assert await guest.so_far() == full + control
            await guest.send(frame(STDIN_CREDIT, CREDIT.pack(1)))
            assert await guest.so_far() == full + control + frame(STDIN, bytes(5))
            await guest.running.end_input()
            assert (await guest.so_far()).endswith(frame(STDIN_EOF))
            await guest.send(exit_frame())


async def test_all_who_wait_for_credit_get_it(autojump_clock: MockClock) -> None:
    guest = Guest()
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(everything, guest.running)
            await guest.running.send_input(bytes(STDIN_WINDOW_BYTES))
            for _ in range(3):
                nursery.start_soon(guest.running.send_input, b"abc")
            await wait_all_tasks_blocked()
            await guest.send(frame(STDIN_CREDIT, CREDIT.pack(9)))
            assert (await guest.so_far()).endswith(frame(STDIN, b"abc") * 3)
            await guest.send(exit_frame())


async def test_credit_for_more_than_was_sent(autojump_clock: MockClock) -> None:
    guest = Guest()
    await guest.running.send_input(b"12345")
    await guest.send(frame(STDIN_CREDIT, CREDIT.pack(5)))
    await guest.send(frame(STDIN_CREDIT, CREDIT.pack(1)))
    with pytest.raises(GuestError, match="credit"):
        await everything(guest.running)


async def test_sending_to_a_guest_that_has_gone() -> None:
    guest = Guest()
    await guest.hang_up()
    running = guest.running
    for send in (running.send_input(b"x"), running.end_input(), running.signal(9)):
        with pytest.raises(ConnectionLost):
            await send
    with pytest.raises(ConnectionLost):
        await everything(running)


class Stuffed(Canned):
    """An agent that ends the command while a frame of stdin is still on its way."""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if bytes(data).startswith(bytes([STDIN])):
            await trio.sleep_forever()
        await super().send_all(data)


async def test_port_with_a_torn_frame_is_not_used_again() -> None:
    """What came next would be taken for the rest of the frame."""
    dialled: list[int] = []

    async def dial(channel: int) -> trio.abc.Stream:
        dialled.append(channel)
        return Stuffed([HEALTH, SWITCHING, exit_frame()])

    link = AgentLink(dial, 2)
    for _ in range(2):
        with trio.fail_after(5):
            async with open_exec(link, Exec("web-1", ["true"])) as running:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(running.send_input, b"x" * 100)
                    await wait_all_tasks_blocked()
                    assert await everything(running) == []
                    nursery.cancel_scope.cancel()
                assert running.result == ExecResult(0, 0, False)
    assert dialled == [1, 1]
