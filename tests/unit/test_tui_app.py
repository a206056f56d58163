"""The application around the full-screen view: a daemon that comes and goes, faults, colours."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.output import DummyOutput

from banger.client import launch
from banger.host.places import Places
from banger.kernel import wire
from banger.kernel.errors import ConnectionLost, ErrorReply, NotFound
from banger.model.requests.events import ReadEvents
from banger.model.requests.vms import ListVms, ShowVm
from banger.tui import app
from banger.tui.app import Tui
from banger.tui.link import Link
from banger.tui.style import style

DEADLINE_S = 20


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Iterator[PipeInput]:
    """What is typed at a terminal that shows nothing; no daemon runs or is started."""
    for find in ("connect", "connect_or_start"):
        monkeypatch.setattr(launch, find, lambda places: None)
    with create_pipe_input() as keys, create_app_session(input=keys, output=DummyOutput()):
        yield keys


def run(directory: Path) -> int:
    places = Places(*[str(directory)] * 4)

    async def within() -> int:
        async with asyncio.timeout(DEADLINE_S):
            return await Tui(places).run()

    return asyncio.run(within())


def test_q_ends_it_without_a_daemon(typed: PipeInput, tmp_path: Path) -> None:
    typed.send_text("jk?xq")
    assert run(tmp_path) == 0


def test_a_paste_is_no_row_of_commands(typed: PipeInput, tmp_path: Path) -> None:
    typed.send_text("\x1b[200~qqq\x1b[201~/\x1b[200~q\x1b[201~\rq")
    assert run(tmp_path) == 0


def test_a_fault_in_drawing_ends_it_with_the_fault(
    typed: PipeInput, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(app, "screen", broken)
    with pytest.raises(ZeroDivisionError):
        run(tmp_path)


def test_a_fault_beside_it_ends_it_too(
    typed: PipeInput, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(places: Places) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(launch, "connect_or_start", broken)
    with pytest.raises(ZeroDivisionError):
        run(tmp_path)


def test_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert any("ansi" in rule for _, rule in style().style_rules)
    monkeypatch.setenv("NO_COLOR", "1")
    assert not any("ansi" in rule for _, rule in style().style_rules)


# --- the connection ---


class Daemon:
    """The other end of a link, which says what the test tells it to."""

    def __init__(self) -> None:
        self.ours, theirs = socket.socketpair()
        self.theirs = theirs
        self.unframer = wire.Unframer()

    def say(self, message: wire.Message) -> None:
        self.ours.sendall(wire.frame(message))

    async def heard(self) -> Any:
        self.ours.setblocking(False)
        loop = asyncio.get_running_loop()
        while not (bodies := self.unframer.feed(await loop.sock_recv(self.ours, 65536))):
            pass
        (body,) = bodies
        return wire.client_decoder.decode(body)


async def linked(daemon: Daemon) -> Link:
    return Link(*await asyncio.open_unix_connection(sock=daemon.theirs))


def test_calls_beside_each_other() -> None:
    async def work() -> None:
        daemon = Daemon()
        made = await linked(daemon)
        first = asyncio.create_task(made.call(ListVms()))
        one = await daemon.heard()
        second = asyncio.create_task(made.call(ShowVm("x")))
        two = await daemon.heard()
        refused = NotFound("there is no VM 'x'")
        daemon.say(wire.Failed(two.id, ErrorReply.of(refused)))
        with pytest.raises(NotFound):
            await second
        daemon.say(wire.Done(one.id, wire.raw([])))
        assert await first == []
        await made.close()
        daemon.ours.close()

    asyncio.run(asyncio.wait_for(work(), DEADLINE_S))


def test_a_call_that_is_left_is_cancelled() -> None:
    async def work() -> None:
        daemon = Daemon()
        made = await linked(daemon)
        with made.stream(ReadEvents(follow=True)):
            call = await daemon.heard()
        assert await daemon.heard() == wire.Cancel(call.id)
        daemon.say(wire.Item(call.id, wire.raw({})))  # was under way
        await made.close()
        daemon.ours.close()

    asyncio.run(asyncio.wait_for(work(), DEADLINE_S))


@pytest.mark.parametrize("last", [b"", b"\xff" * 100, b"\0\0\0\x01\xff"])
def test_a_daemon_that_goes_or_talks_nonsense_ends_all_calls(last: bytes) -> None:
    async def work() -> None:
        daemon = Daemon()
        made = await linked(daemon)
        calls = [asyncio.create_task(made.call(ListVms())) for _ in range(3)]
        await asyncio.sleep(0)
        daemon.ours.sendall(last)
        daemon.ours.close()
        for call in calls:
            with pytest.raises(ConnectionLost):
                await call
        with pytest.raises(ConnectionLost):
            await made.call(ListVms())
        await made.close()

    asyncio.run(asyncio.wait_for(work(), DEADLINE_S))
