"""How soon an event is on the full-screen view, and what drawing many VMs takes."""

from __future__ import annotations

import fcntl
import os
import pty
import secrets
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager

from banger.commands.bench_report import since
from banger.commands.context import Context
from banger.kernel.errors import TimedOut
from banger.model.events import Recorded, VmStateChanged
from banger.model.requests.events import ReadEvents
from banger.model.requests.vms import CreateVm, DeleteVm
from banger.model.vm import VmState, VmView
from banger.tui.model import Model
from banger.tui.screen import screen

FLEET = 500
ROWS, COLUMNS = 24, 80
DEADLINE_S = 30.0
PREFIX = "bt-"
LETTERS = "gjkqwxz"
"""None of them is in what was there before, so all are drawn, and not only what differs."""
QUIET_S = 0.3


def measure(context: Context) -> dict[str, float]:
    """Milliseconds, by what was measured. Makes a VM without starting it, and deletes it."""
    return {
        "tui: event to screen": _event_ms(context),
        f"tui: an event with {FLEET} VMs": _drawing_ms(),
    }


def _event_ms(context: Context) -> float:
    """From the first event of a VM until its row is written to the terminal."""
    mark = "".join(secrets.choice(LETTERS) for _ in range(6))
    name = PREFIX + mark
    happened: list[Recorded] = []
    with _running() as terminal:
        _await(terminal, b"VMs")
        os.write(terminal, f"/{PREFIX}\r".encode())
        _settle(terminal)
        creating = context.daemon.begin(CreateVm(name=name, start=False))
        try:
            _await(terminal, mark.encode())
            seen = time.time()
        finally:
            context.daemon.finish(creating, VmView)
            read = ReadEvents(where={"vm": [name]})
            context.daemon.call(read, items=Recorded, on_item=happened.append)
            context.call(DeleteVm(name))
    return (seen - happened[0].at) * 1000


@contextmanager
def _running() -> Iterator[int]:
    """``banger tui`` on a terminal; the descriptor of the terminal's other end."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    argv = [sys.executable, "-m", "banger.cli.main", "tui"]
    view = subprocess.Popen(argv, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
    os.close(slave)
    try:
        yield master
    finally:
        view.kill()
        view.wait()
        os.close(master)


def _await(terminal: int, text: bytes) -> None:
    seen, deadline = b"", time.monotonic() + DEADLINE_S
    while text not in seen:
        if not select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise TimedOut(f"'banger tui' does not show {text.decode()!r} within {DEADLINE_S:g} s")
        seen += os.read(terminal, 65536)


def _settle(terminal: int) -> None:
    """Read until nothing comes for a moment."""
    while select.select([terminal], [], [], QUIET_S)[0]:
        os.read(terminal, 65536)


def _drawing_ms() -> float:
    model = Model()
    model.connected(_view(number) for number in range(FLEET))
    begun = time.perf_counter()
    event = VmStateChanged(_view(0).name, VmState.STOPPED, "")
    model.take(Recorded(1, 0.0, event))
    screen(model, COLUMNS, ROWS, now=time.time(), tick=0.0)
    return since(begun)


def _view(number: int) -> VmView:
    return VmView(
        name=f"vm-{number:03}",
        state=VmState.STOPPED,
        image="debian",
        address=f"10.0.{number // 250}.{number % 250 + 2}",
        mac="02:fc:00:00:00:02",
        pid=None,
        vcpus=1,
        memory_mib=256,
        disk_bytes=1 << 32,
        disk_allocated_bytes=1 << 14,
        created_at="2024-05-01T12:00:00+00:00",
        id="0" * 32,
        driver="qemu",
        accelerator=None,
        tap=None,
        reason="",
        labels={},
        options={},
    )
