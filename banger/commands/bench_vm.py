"""One run of a bench: some VMs, one after another, each from nothing to nothing."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import msgspec

from banger.client.ssh import forget_host, ssh_arguments
from banger.commands.bench_host import allocated_kib, banger, memory_mb, run_process, timed
from banger.commands.bench_many import exec_true, quiet
from banger.commands.bench_report import since
from banger.commands.bench_targets import (
    DISKS,
    FORK,
    FORK_PAUSE,
    NEW_DISKS,
    PRIVATE,
    PROCESSES,
    PSS,
    RUN,
    TO_EXEC,
    TO_SSH,
)
from banger.commands.context import Context
from banger.kernel.errors import BangerError, CommandFailed, NotFound
from banger.model.events import AnyEvent, StageFinished
from banger.model.requests.forks import ForkVm
from banger.model.requests.guests import GetSshAccess
from banger.model.requests.vms import CreateVm, DeleteVm, ShowVm
from banger.model.vm import VmView

SSH_DEADLINE_S = 120.0
SSH_AGAIN_S = 0.05
LIST_RUNS = 5
FILES = "files of the VM, settled"
NEW, AFTER_SSH = ", new", ", after ssh"

UNITS = {
    "root disk of a new VM": "KiB",
    NEW_DISKS: "KiB",
    DISKS: "KiB",
    FILES: "KiB",
    **{f"{kind}{when}": "MB" for kind in (PSS, PRIVATE) for when in (NEW, "", AFTER_SSH)},
}

Run = dict[str, float]
"""What one run measured, by the rows' names."""


def first_exec(context: Context, order: CreateVm, begins: str) -> Run:
    """Created, asked, left alone, looked at. Raises `BangerError` when its guest did not begin
    as it ``begins``: the first word of what the stage ``seed`` says."""
    found: Run = {}
    began = ""

    def take(event: object) -> None:
        nonlocal began
        if isinstance(event, StageFinished):
            found[f"stage {event.stage}"] = event.duration_ms
            began = event.note if event.stage == "seed" else began

    begun = time.perf_counter()
    view = context.daemon.call(order, items=AnyEvent, on_item=take)
    with _deleted(context, view, found):
        found["create"] = since(begun)
        exec_true(context.daemon, view.name)
        found[TO_EXEC] = since(begun)
        if not began.startswith(begins):
            raise BangerError(f"the VM did not begin {begins}: {began}")
        found |= _memory(view, NEW)
        found[NEW_DISKS] = context.call(ShowVm(view.name)).disk_allocated_bytes / 1024
        listing = banger("vm", "list")
        found["vm list as a process"] = statistics.median(
            timed(lambda: run_process(listing)) for _ in range(LIST_RUNS)
        )
        found |= quiet(context)
        found |= _memory(view, "")
        found[DISKS] = context.call(ShowVm(view.name)).disk_allocated_bytes / 1024
        found[FILES] = allocated_kib(context.paths.vms / view.name)
        found["exec in the settled guest"] = timed(lambda: exec_true(context.daemon, view.name))
        ssh = _ssh(context, view.name)
        found["ssh in the settled guest"] = timed(lambda: run_process(ssh))
        found |= _memory(view, AFTER_SSH)
    return found


def to_ssh(context: Context, order: CreateVm) -> Run:
    found: Run = {}
    begun = time.perf_counter()
    view = context.call(order)
    with _deleted(context, view, {}):
        _run_when_heard(_ssh(context, view.name))
        found[TO_SSH] = since(begun)
    return found


def fork(context: Context, order: CreateVm) -> Run:
    parent = context.call(order)
    with _deleted(context, parent, {}):
        exec_true(context.daemon, parent.name)
        begun = time.perf_counter()
        outcome = context.call(ForkVm(parent.name, [_name()]))
        (child,) = outcome.vms
        with _deleted(context, child, {}):
            exec_true(context.daemon, child.name)
            return {FORK: since(begun), FORK_PAUSE: outcome.paused_ms}


def processes(context: Context, flags: list[str]) -> Run:
    """As a user would type them; ``flags`` of the creation."""
    name = _name()
    begun = time.perf_counter()
    try:
        run_process(banger("vm", "create", name, *flags))
        run_process(banger("vm", "exec", name, "--", "true"))
        return {PROCESSES: since(begun)}
    finally:
        with suppress(NotFound):
            context.call(DeleteVm(name))


def run_command(flags: list[str]) -> Run:
    return {RUN: timed(lambda: run_process(banger("vm", "run", *flags, "--", "true")))}


def new_disk(context: Context, order: CreateVm) -> Run:
    """What the disk of a VM takes that has not run yet."""
    view = context.call(msgspec.structs.replace(order, start=False))
    context.call(DeleteVm(view.name))
    return {"root disk of a new VM": view.disk_allocated_bytes / 1024}


@contextmanager
def _deleted(context: Context, view: VmView, found: Run) -> Iterator[None]:
    """The VM goes when the block ends."""
    try:
        yield
    finally:
        found["delete"] = timed(lambda: context.call(DeleteVm(view.name)))
        forget_host(context.paths, view.name)


def _memory(view: VmView, when: str) -> Run:
    pid = view.pid or 0
    return {
        f"{PSS}{when}": memory_mb(pid, "Pss"),
        f"{PRIVATE}{when}": memory_mb(pid, "Private_Dirty"),
    }


def _ssh(context: Context, name: str) -> list[str]:
    return [*ssh_arguments(context.paths, name, context.call(GetSshAccess(name))), "true"]


def _run_when_heard(argv: list[str]) -> None:
    """Until sshd listens a connection is refused, which costs the guest nothing. Waiting for its
    banner would cost it a process that nobody uses."""
    deadline = time.monotonic() + SSH_DEADLINE_S
    while True:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        if done.returncode == 0:
            return
        if b"refused" not in done.stderr or time.monotonic() > deadline:
            raise CommandFailed(argv, done.returncode, done.stderr.decode(errors="replace"))
        time.sleep(SSH_AGAIN_S)


def _name() -> str:
    return f"bench-{os.urandom(4).hex()}"
