from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from banger.client.ssh import forget_host, ssh_arguments
from banger.commands.bench_many import exec_true, many
from banger.commands.bench_report import Report, report, since
from banger.commands.context import Context
from banger.commands.declare import Command, Kind, Option
from banger.kernel.errors import BangerError, CommandFailed, TimedOut, UsageError
from banger.model.events import AnyEvent, StageFinished
from banger.model.requests.guests import GetSshAccess
from banger.model.requests.images import ChooseDefaultImage
from banger.model.requests.seeds import MeasureFloor, WarmImage
from banger.model.requests.vms import CreateVm, DeleteVm, ListVms, ShowVm

SSH_DEADLINE_S = 120.0
SETTLE_S = 20.0
LIST_RUNS = 5

_UNITS = {
    "root disk of a new VM": "KiB",
    "disks of the VM": "KiB",
    "VM memory (PSS)": "MiB",
    "VM memory (private)": "MiB",
    "bangerd memory (RSS)": "MiB",
    "bangerd idle cpu": "%",
}

Run = dict[str, float]
"""What one run measured, by name."""


def run(context: Context, *, runs: int, cold: bool, warm: bool, count: int, parallel: bool) -> None:
    for flag, value in (("--runs", runs), ("--count", count)):
        if value < 1:
            raise UsageError(f"{flag} {value}: at least one is needed")
    if cold and warm:
        raise UsageError("--cold and --warm contradict each other")
    context.call(ListVms())  # the daemon's own start is not measured
    if warm:
        context.call(WarmImage(_default_image(context)))
    measured: list[Run] = []
    for number in range(runs):
        context.note(f"run {number + 1} of {runs}, load {os.getloadavg()[0]:.2f}")
        found = _floor(context) if warm else {}
        if count > 1:
            found |= many(context, count, at_once=parallel, cold=cold)
        else:
            found |= _measure(context, cold=cold, warm=warm)
        measured.append(found)
    rows = ((name, [r[name] for r in measured if name in r]) for name in measured[0])
    report(context, runs, rows, _UNITS)


def _default_image(context: Context) -> str:
    return context.call(ChooseDefaultImage()).name


def _floor(context: Context) -> Run:
    """What the bare VMM needs, in the same run: under the same load."""
    floor = context.call(MeasureFloor(_default_image(context)))
    return {
        "bare VMM: restored": floor.restore_ms,
        "bare VMM: restored, agent answers": floor.answer_ms,
        "bare VMM: booted, agent answers": floor.boot_ms,
    }


def _measure(context: Context, *, cold: bool, warm: bool) -> Run:
    """One VM from nothing to nothing. Times in ms, the disk in KiB, memory in MiB."""
    found: Run = {}
    began = ""

    def take(event: object) -> None:
        nonlocal began
        if isinstance(event, StageFinished):
            found[f"stage {event.stage}"] = event.duration_ms
            began = event.note if event.stage == "seed" else began

    begun = time.perf_counter()
    view = context.daemon.call(CreateVm(cold=cold), items=AnyEvent, on_item=take)
    try:
        found["create"] = since(begun)
        exec_true(context.daemon, view.name)
        found["create to first exec"] = since(begun)
        if warm and not began.startswith("warm"):
            raise BangerError(f"the VM did not begin in a warm seed: {began}")
        _await_banner(view.address)
        found["create to ssh banner"] = since(begun)
        listing = [sys.executable, "-m", "banger.cli.main", "vm", "list"]
        found["vm list as a process"] = statistics.median(
            _timed(lambda: _run_process(listing)) for _ in range(LIST_RUNS)
        )
        daemon = context.daemon.hello.pid
        before = _cpu_s(daemon)
        context.sleep(SETTLE_S)
        found["bangerd idle cpu"] = (_cpu_s(daemon) - before) / SETTLE_S * 100
        found["bangerd memory (RSS)"] = _memory_mib(daemon, "Rss")
        found["exec in the settled guest"] = _timed(lambda: exec_true(context.daemon, view.name))
        ssh = ssh_arguments(context.paths, view.name, context.call(GetSshAccess(view.name)))
        found["ssh in the settled guest"] = _timed(lambda: _run_process([*ssh, "true"]))
        found["VM memory (PSS)"] = _memory_mib(view.pid or 0, "Pss")
        found["VM memory (private)"] = _memory_mib(view.pid or 0, "Private_Dirty")
        shown = context.call(ShowVm(view.name))
        found["disks of the VM"] = shown.disk_allocated_bytes / 1024
    finally:
        found["delete"] = _timed(lambda: context.call(DeleteVm(view.name)))
        forget_host(context.paths, view.name)
    found["root disk of a new VM"] = _new_disk_kib(context)
    return found


def _new_disk_kib(context: Context) -> float:
    """What the disk of a VM takes that has not run yet."""
    view = context.call(CreateVm(start=False))
    context.call(DeleteVm(view.name))
    return view.disk_allocated_bytes / 1024


def _await_banner(address: str) -> None:
    """Wait for ssh's first bytes. Until sshd listens a connection is refused at no cost."""
    deadline = time.monotonic() + SSH_DEADLINE_S
    while True:
        try:
            with socket.create_connection((address, 22), timeout=SSH_DEADLINE_S) as stream:
                if stream.recv(4) == b"SSH-":
                    return
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise TimedOut(f"no ssh at {address} after {SSH_DEADLINE_S:.0f} s") from None
        time.sleep(0.02)


def _run_process(argv: list[str]) -> None:
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode != 0:
        raise CommandFailed(argv, done.returncode, done.stderr.decode(errors="replace"))


def _timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return since(begun)


def _cpu_s(pid: int) -> float:
    """User and system time used so far: fields 14 and 15 of /proc/PID/stat (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory_mib(pid: int, kind: str) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(f"{kind}:"):
            return int(line.split()[1]) / 1024
    raise BangerError(f"/proc/{pid}/smaps_rollup has no {kind}")


COMMAND = Command(
    path=("bench", "create"),
    summary="Measure creating VMs: each stage, first exec, ssh, memory, deletion.",
    details="Needs an otherwise idle machine to mean much; the load is printed with the result. "
    "Each run makes a VM, uses it and deletes it.",
    run=run,
    reply=Report,
    mutates=True,
    options=(
        Option("runs", ("--runs",), "How many VMs, one after another.", Kind.NUMBER, "N", 5),
        Option("cold", ("--cold",), "Boot each VM, also where there is a warm seed.", Kind.FLAG),
        Option(
            "warm",
            ("--warm",),
            "Begin each VM in a warm seed, made when there is none; measure the bare VMM as well.",
            Kind.FLAG,
        ),
        Option("count", ("--count",), "How many VMs a run makes.", Kind.NUMBER, "N", 1),
        Option("parallel", ("--parallel",), "Make the VMs of a run at once.", Kind.FLAG),
    ),
    examples=(
        "banger bench create --runs 5",
        "banger bench create --warm --runs 10",
        "banger bench create --warm --count 10 --parallel",
    ),
)
