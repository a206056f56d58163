from __future__ import annotations

import shutil
from collections.abc import Sequence

from banger.commands.context import Context
from banger.commands.declare import Command, Kind, Option
from banger.commands.labels import Selector, parse_selectors
from banger.commands.select import LABEL, NAMES, check_names, check_there, fits, matches
from banger.kernel.errors import UsageError
from banger.model.clock import show_age
from banger.model.requests.stats import ReadStats
from banger.model.requests.vms import ListVms
from banger.model.sizes import short_size
from banger.model.stats import GuestUsage, VmmUsage, VmStats
from banger.model.usage import Usage, usage

SAMPLE_S = 0.5
"""Between the two looks that tell the rates of the first table."""
INTERVAL_S = 2.0
INTERVAL_MIN_S, INTERVAL_MAX_S = 0.2, 3600.0

HEAD = tuple(
    "NAME CPU RESIDENT PSS SHARED PRIVATE DISK OUT IN LOAD GUEST-MEM GUEST-DISK PROCS UP".split()
)

DROPPED_FIRST = ("RESIDENT", "SHARED", "PRIVATE", "GUEST-DISK", "PROCS", "GUEST-MEM", "UP")
"""On a terminal that is too narrow."""


def run(
    context: Context,
    *,
    names: tuple[str, ...],
    labels: tuple[str, ...],
    watch: bool,
    interval_s: float,
) -> None:
    check_names(names)
    selectors = parse_selectors(labels)
    if not INTERVAL_MIN_S <= interval_s <= INTERVAL_MAX_S:
        raise UsageError(
            f"--interval {interval_s:g} is not within {INTERVAL_MIN_S:g} and "
            f"{INTERVAL_MAX_S:g} seconds"
        )
    before = {stats.name: stats for stats in _look(context, names, selectors)}
    context.sleep(SAMPLE_S)
    while True:
        now = _look(context, names, selectors)
        found = [usage(before.get(stats.name), stats) for stats in now]
        if not watch:
            context.document(found)
            _show(context, found)
            return
        context.item(found)
        if context.sink.redraws:
            _clear(context)
        _show(context, found)
        before = {stats.name: stats for stats in now}
        context.sleep(interval_s)


def _look(context: Context, names: Sequence[str], selectors: Sequence[Selector]) -> list[VmStats]:
    """Of those named; without names of those that run. VMs come and go while one watches."""
    there = context.call(ListVms())
    check_there(names, there)
    wanted = [
        view.name
        for view in there
        if fits(view, selectors) and (matches(view.name, names) if names else view.pid is not None)
    ]
    return context.call(ReadStats(wanted)) if wanted else []


def _show(context: Context, found: Sequence[Usage]) -> None:
    if not found:
        context.note("no VM runs; name those whose disks are of interest")
        return
    lines = [HEAD, *(_row(each) for each in found)]
    columns = context.sink.columns
    if columns is not None:
        lines = fitting(lines, columns)[: max(2, shutil.get_terminal_size().lines - 1)]
    context.table(lines[0], lines[1:])


def _clear(context: Context) -> None:
    context.line("\x1b[H\x1b[2J\x1b[3J")


def fitting(lines: list[tuple[str, ...]], width: int) -> list[tuple[str, ...]]:
    """The lines without the columns that have the least to say, if they are too wide."""
    for dropped in DROPPED_FIRST:
        if sum(max(map(len, column)) + 2 for column in zip(*lines, strict=True)) - 2 <= width:
            break
        place = lines[0].index(dropped)
        lines = [(*line[:place], *line[place + 1 :]) for line in lines]
    return lines


def _row(found: Usage) -> tuple[str, ...]:
    vmm, guest = found.vmm, found.guest
    return (
        found.name,
        "-" if found.cpu_percent is None else f"{found.cpu_percent:.0f}%",
        *(_memory(vmm) if vmm is not None else "-" * 4),
        f"{short_size(found.disk_allocated_bytes)}/{short_size(found.disk_bytes)}",
        _speed(found.sent_bytes_s),
        _speed(found.received_bytes_s),
        *(_guest(guest) if guest is not None else "-" * 5),
    )


def _memory(vmm: VmmUsage) -> list[str]:
    counts = (vmm.resident_bytes, vmm.pss_bytes, vmm.shared_bytes, vmm.private_bytes)
    return [short_size(count) for count in counts]


def _speed(bytes_s: float | None) -> str:
    return "-" if bytes_s is None else f"{short_size(bytes_s)}/s"


def _guest(guest: GuestUsage) -> tuple[str, ...]:
    memory = guest.memory
    used = memory.total_bytes - memory.available_bytes
    return (
        f"{guest.load[0]:.2f}",
        f"{short_size(max(0, used))}/{short_size(memory.total_bytes)}",
        " ".join(
            f"{disk.path}:{_percent(disk.used_bytes, disk.size_bytes)}" for disk in guest.disks
        )
        or "-",
        str(guest.processes),
        show_age(guest.uptime_ms / 1000),
    )


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f}%" if whole else "-"


COMMAND = Command(
    path=("vm", "stats"),
    summary="Show what VMs use: CPU, memory, disk and network.",
    details="Without names: of all that run. CPU is that of the VMM, 100% is one CPU of the host; "
    "PSS counts memory that VMs share in parts. LOAD and what follows is what the guest says, "
    "nothing where it does not answer. With --json and --watch each look is a line of its own.",
    run=run,
    reply=list[Usage],
    arguments=(NAMES,),
    options=(
        LABEL,
        Option("watch", ("-w", "--watch"), "Look again and again.", Kind.FLAG),
        Option(
            "interval_s",
            ("--interval",),
            "Seconds between the looks.",
            Kind.SECONDS,
            "SECONDS",
            INTERVAL_S,
        ),
    ),
    examples=("banger vm stats", "banger vm stats 'web-*' --watch"),
)
