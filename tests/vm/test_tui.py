"""``banger tui`` on a real terminal: what it shows, what its keys do, how it leaves."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator

import pytest

from banger.client.connection import Connection
from banger.model.events import Recorded
from banger.model.requests.events import ReadEvents
from banger.model.requests.vms import CreateVm, DeleteVm
from banger.model.vm import VmView
from tests.vm.instance import Instance
from tests.vm.screen import Screen
from tests.vm.terminal import terminal

ENTER, ESCAPE = "\r", "\x1b"
ON_SCREEN_S = 0.1
BUSY_HOST = 5
"""Times as long where others use the machine too."""


@contextlib.contextmanager
def tui(instance: Instance, code: int = 0) -> Iterator[Screen]:
    """It must exit with this code within the block, or by q at its end; the terminal is then
    what it was before."""
    with terminal(instance, "tui", rows=24, columns=80) as pty:
        before = pty.modes()
        screen = Screen(pty, 24, 80)
        screen.shows("in use")
        yield screen
        if pty.process.poll() is None and code == 0:
            screen.type("q")
        assert screen.await_exit() == code
        assert screen.raw.count("\x1b[?1049h") == screen.raw.count("\x1b[?1049l") > 0
        assert "\x1b[?25h" in screen.raw.rpartition("\x1b[?25l")[2], "the cursor is shown"
        assert "Traceback" not in screen.raw
        assert pty.modes() == before


def test_watch_and_work(instance: Instance, box: str) -> None:
    with tui(instance) as screen, instance.connect() as daemon:
        screen.shows("M/256M")
        assert f" {box} " in screen.text

        delays = [delay(screen, daemon, f"news-{number}") for number in range(5)]
        assert min(delays) < ON_SCREEN_S * BUSY_HOST, delays

        daemon.call(CreateVm(name="news", start=False))
        screen.type("/news" + ENTER)
        screen.shows("filter: news")
        screen.shows("○ stopped")
        screen.type("d")
        screen.shows("delete news? its disk is removed")
        screen.type("n")
        screen.shows_no_more("delete news?")
        screen.type("d")
        screen.shows("delete news?")
        screen.type("y")
        screen.shows("no VM fits the filter")
        screen.type(ESCAPE)
        screen.shows(f" {box} ")
        assert "news" not in instance.names()


def delay(screen: Screen, daemon: Connection, name: str) -> float:
    """How long after its first event a new VM is on the screen, in seconds."""
    creating = daemon.begin(CreateVm(name=name, start=False))
    screen.shows(f" {name} ")
    seen = time.time()
    daemon.finish(creating, VmView)
    happened: list[Recorded] = []
    read = ReadEvents(where={"vm": [name]})
    daemon.call(read, items=Recorded, on_item=happened.append)
    daemon.call(DeleteVm(name))
    return seen - happened[0].at


def test_detail_and_size(instance: Instance, box: str) -> None:
    with tui(instance) as screen:
        screen.type(f"/{box}{ENTER}{ENTER}")
        screen.shows("agent ready")
        screen.shows("load ")
        screen.resize(40, 120)
        screen.shows("load ")
        instance.sh(box, r"printf 'tui \033]0;wicked\007marker\n' >/dev/ttyS0")
        screen.shows("tui marker")
        assert "wicked" not in screen.raw
        screen.resize(6, 30)
        screen.shows("needs 40 columns")
        screen.resize(24, 80)
        screen.shows("─ console ─")
        screen.type(ESCAPE)
        screen.shows("NAME▴")


def test_the_daemons_death(instance: Instance, box: str) -> None:
    with tui(instance) as screen:
        for end in ("b", ""):
            instance.signal_daemon(signal.SIGKILL)
            screen.shows("waiting for it")
            assert f" {box} " in screen.text
            if end:
                screen.type(end)
            else:
                instance.run("daemon", "start")
            screen.shows_no_more("waiting for it")
            screen.shows("in use")


def test_ssh_has_the_terminal_and_gives_it_back(instance: Instance, box: str) -> None:
    instance.run("vm", "wait", box, "--for", "ssh")
    with tui(instance) as screen:
        screen.type(f"/{box}{ENTER}l")
        screen.shows(f"root@{box}:~#", seconds=60)
        screen.type("exit 3\r")
        screen.shows("ended with exit code 3")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_the_terminal_clean(
    instance: Instance, box: str, number: signal.Signals
) -> None:
    with tui(instance, code=128 + number) as screen:
        os.kill(screen.terminal.process.pid, number)


def test_without_a_terminal(instance: Instance) -> None:
    assert "needs a terminal" in instance.error("tui", code=2)
