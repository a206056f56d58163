"""The shell: when it takes keys, and how long one takes with many VMs."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time

from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

from banger.cli.complete import Candidate
from banger.cli.names import of_vms
from banger.cli.plugins import Plugins
from banger.commands.bench_report import since
from banger.kernel.errors import TimedOut
from banger.model.command import Completion
from banger.model.requests.plugins import Interface
from banger.model.vm import VmState, VmView
from banger.repl.colours import Reader
from banger.repl.completer import LineCompleter

FLEET = 500
TYPED = "vm exec web-123 --user root --env A=b -- uname -a"
READY_DEADLINE_S = 30.0
PROMPT = b"banger"
ECHOED = "zq"
"""Typed into the new prompt: when it is on the screen, the shell takes keys."""


Run = dict[str, float]


def measure() -> Run:
    """In ms. Of the keys of a long line the slowest counts."""
    return {"shell ready for typing": ready_ms(), f"key, {FLEET} VMs": max(keys_ms())}


def ready_ms() -> float:
    """From the start of the process until what is typed is on the screen."""
    master, slave = pty.openpty()
    begun = time.perf_counter()
    shell = subprocess.Popen(
        [sys.executable, "-m", "banger.cli.main", "repl"],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    try:
        os.close(slave)
        _await(master, PROMPT)
        os.write(master, ECHOED.encode())
        _await(master, ECHOED.encode())
        return since(begun)
    finally:
        shell.kill()
        shell.wait()
        os.close(master)


def keys_ms() -> list[float]:
    """Of each key of a long line: what can come next, with colours and mistakes."""
    vms = {view.name: view for view in map(_view, range(FLEET))}

    class There:
        def named(self, kind: Completion) -> list[Candidate]:
            return list(of_vms(list(vms.values()), kind))

    plugins = Plugins(lambda: Interface([], [], []))
    completer = LineCompleter(plugins, There())
    reader = Reader(plugins, There(), lambda: vms, lambda: None)
    taken = []
    for end in range(1, len(TYPED) + 1):
        line = TYPED[:end]
        begun = time.perf_counter()
        reader.coloured(line)
        list(completer.get_completions(Document(line), CompleteEvent()))
        taken.append(since(begun))
    return taken


def _view(number: int) -> VmView:
    return VmView(
        name=f"web-{number}",
        state=VmState.STOPPED,
        image="debian",
        address="",
        mac="",
        pid=None,
        vcpus=1,
        memory_mib=256,
        disk_bytes=1 << 30,
        disk_allocated_bytes=4096,
        created_at="",
        id=f"{number:032x}",
        driver="qemu",
        accelerator=None,
        tap=None,
        reason="",
        labels={"app": f"web-{number % 10}"},
        options={},
    )


def _await(master: int, wanted: bytes) -> None:
    seen = b""
    deadline = time.monotonic() + READY_DEADLINE_S
    while wanted not in seen:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([master], [], [], left)[0]:
            raise TimedOut(f"the shell has not come up after {READY_DEADLINE_S:.0f} s")
        seen += os.read(master, 1 << 16)
