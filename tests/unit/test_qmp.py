"""QEMU's control protocol, against a fake QEMU."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import memory_stream_pair

from banger.kernel.errors import BangerError, ConnectionLost, VmmError
from banger.vmm.qmp import LINE_LIMIT_BYTES, QmpClient

GREETING = {"QMP": {"version": {"qemu": {"major": 7}}, "capabilities": ["oob"]}}
RESET = {"event": "RESET", "data": {"guest": True}, "timestamp": {"seconds": 1, "microseconds": 2}}

Answer = Callable[[dict[str, Any]], list[object]]


def line(document: object) -> bytes:
    return document if isinstance(document, bytes) else json.dumps(document).encode() + b"\r\n"


def returns(command: dict[str, Any]) -> list[object]:
    return [{"return": command["arguments"], "id": command["id"]}]


class FakeQemu:
    """Greets, negotiates, then answers each command with what ``answer`` says; b"" hangs up."""

    def __init__(self, answer: Answer = returns, greeting: object = GREETING) -> None:
        self._answer = answer
        self._greeting = greeting
        self.stream, self._theirs = memory_stream_pair()
        self.events: list[str] = []
        self.ending: BangerError | None = None
        self.client = QmpClient(self.stream)

    async def send(self, document: object) -> None:
        await self._theirs.send_all(line(document))

    async def serve(self) -> None:
        await self.send(self._greeting)
        buffer = b""
        negotiated = False
        while data := await self._theirs.receive_some():
            *lines, buffer = (buffer + data).split(b"\n")
            for command in map(json.loads, lines):
                assert negotiated or command["execute"] == "qmp_capabilities"
                answers = self._answer(command) if negotiated else [{"return": {}, "id": 0}]
                negotiated = True
                for answer in answers:
                    if answer == b"":
                        await self._theirs.aclose()
                        return
                    await self.send(answer)

    async def read(self) -> None:
        try:
            while True:
                self.events.append(await self.client.next_event())
        except BangerError as error:
            self.ending = error


@asynccontextmanager
async def running(answer: Answer = returns) -> AsyncIterator[FakeQemu]:
    """A negotiated client with its reader."""
    qemu = FakeQemu(answer)
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(qemu.serve)
            await qemu.client.negotiate()
            nursery.start_soon(qemu.read)
            yield qemu
            await qemu.client.aclose()
            nursery.cancel_scope.cancel()


async def test_commands_and_their_results() -> None:
    async with running() as qemu:
        assert await qemu.client.execute("query-status") == {}
        result = await qemu.client.execute("screendump", filename="x", head=None)
        assert result == {"filename": "x", "head": None}


async def test_many_commands_at_once_answered_in_any_order() -> None:
    held: list[dict[str, Any]] = []

    def in_reverse(command: dict[str, Any]) -> list[object]:
        held.append(command)
        if len(held) < 100:
            return [RESET]
        return [answer for command in reversed(held) for answer in returns(command)]

    results: list[tuple[int, Any]] = []

    async with running(in_reverse) as qemu:

        async def ask(number: int) -> None:
            results.append((number, await qemu.client.execute("x", number=number)))

        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(ask, number)
        assert qemu.events == ["RESET"] * 99
    assert sorted(results, key=lambda pair: pair[0]) == [
        (number, {"number": number}) for number in range(100)
    ]


async def test_events_between_replies() -> None:
    async with running(lambda command: [RESET, *returns(command), RESET]) as qemu:
        for _ in range(3):
            await qemu.client.execute("query-status")
        await trio.testing.wait_all_tasks_blocked()
        assert qemu.events == ["RESET"] * 6


async def test_refusals() -> None:
    def refuse(command: dict[str, Any]) -> list[object]:
        error = {"class": "CommandNotFound", "desc": "The command x has not been found"}
        return [{"error": error, "id": command["id"]}]

    async with running(refuse) as qemu:
        for _ in range(2):
            with pytest.raises(VmmError, match="refused x: The command x has not been found"):
                await qemu.client.execute("x")
        assert qemu.ending is None


async def test_replies_nobody_waits_for_are_passed_over() -> None:
    def several(command: dict[str, Any]) -> list[object]:
        return [{"return": 1, "id": 999}, {"return": 2}, *returns(command) * 2]

    async with running(several) as qemu:
        for _ in range(3):
            assert await qemu.client.execute("x") == {}
        with trio.move_on_after(0):
            await qemu.client.execute("cancelled")
        assert await qemu.client.execute("x") == {}


@pytest.mark.parametrize(
    ("ending", "expected"),
    [
        (b"", ConnectionLost),
        (b"no json\n", VmmError),
        (b"\xff\xfe\n", VmmError),
        (b'{"event":"\xff"}\n', VmmError),
        (b"[" * 100_000 + b"\n", VmmError),
        (b"\n", VmmError),
        (b"[]\n", VmmError),
        (b'{"id":"one"}\n', VmmError),
        (b'{"event":5}\n', VmmError),
        (b'{"error":{}}\n', VmmError),
        (b"x" * (LINE_LIMIT_BYTES + 1), VmmError),
    ],
)
async def test_end_or_garbage_during_commands(ending: bytes, expected: type[BangerError]) -> None:
    """Nobody hangs: neither who waits nor who comes later."""

    def after_three(command: dict[str, Any]) -> list[object]:
        return [ending] if command["execute"] == "third" else []

    async with running(after_three) as qemu:

        async def ask(command: str) -> None:
            with pytest.raises(ConnectionLost):
                await qemu.client.execute(command)

        async with trio.open_nursery() as nursery:
            for command in ("first", "second", "third"):
                nursery.start_soon(ask, command)
        await ask("late")
        assert isinstance(qemu.ending, expected)


async def test_closing_ends_what_waits() -> None:
    async with running(lambda command: []) as qemu:

        async def ask() -> None:
            with pytest.raises(ConnectionLost):
                await qemu.client.execute("x")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            await qemu.client.aclose()
        await ask()


@pytest.mark.parametrize(
    "greeting",
    [{}, {"return": {}}, RESET, b"SSH-2.0\n", b"\xff\n", b"x" * (LINE_LIMIT_BYTES + 1)],
)
async def test_wrong_greeting(greeting: object) -> None:
    qemu = FakeQemu(greeting=greeting)
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(qemu.serve)
            with pytest.raises(VmmError):
                await qemu.client.negotiate()
            nursery.cancel_scope.cancel()


async def test_negotiation_is_refused_or_cut() -> None:
    for answer, expected in (({"error": {"desc": "no"}}, VmmError), (None, ConnectionLost)):
        ours, theirs = memory_stream_pair()
        await theirs.send_all(line(GREETING) + (line(answer) if answer else b""))
        if answer is None:
            await theirs.send_eof()
        with pytest.raises(expected), trio.fail_after(5):
            await QmpClient(ours).negotiate()
