from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack

from banger.commands import bench_debvm, bench_vm
from banger.commands.bench_many import many
from banger.commands.bench_report import Report, report
from banger.commands.bench_targets import RESTORED, TIMES_BARE, TO_EXEC, TO_SSH, targets
from banger.commands.bench_vm import Run
from banger.commands.context import Context
from banger.commands.declare import Command, Kind, Option
from banger.commands.shape import SHAPE, check_shape
from banger.kernel.errors import UsageError
from banger.model.requests.control import GetStatus
from banger.model.requests.images import ChooseDefaultImage
from banger.model.requests.seeds import AwaitStandby, MeasureFloor, WarmImage
from banger.model.requests.vms import CreateVm, DeleteVm, ListVms
from banger.model.vm import Beginning

DEBVM = "debvm: its image copied, to the end of 'ssh VM true'"
TIMES_FASTER = "debvm / banger, to the end of ssh"
DEBVM_IMAGE = "debvm: its image made"

_UNITS = {
    **bench_vm.UNITS,
    "bangerd memory (RSS)": "MB",
    "bangerd idle cpu": "%",
    TIMES_BARE: "x",
    TIMES_FASTER: "x",
    DEBVM_IMAGE: "s",
}


def run(
    context: Context,
    *,
    runs: int,
    cold: bool,
    warm: bool,
    standby: bool,
    count: int,
    parallel: bool,
    idle: bool,
    memory_mib: int | None,
    debvm: bool,
) -> None:
    for flag, value in (("--runs", runs), ("--count", count)):
        if value < 1:
            raise UsageError(f"{flag} {value}: at least one is needed")
    if cold + warm + standby > 1:
        raise UsageError("of --cold, --warm and --standby only one can be")
    if count == 1 and (parallel or idle):
        raise UsageError(f"{'--parallel' if parallel else '--idle'} is for --count 2 and more")
    if count > 1 and debvm:
        raise UsageError("--debvm compares with one VM, not with --count")
    check_shape(None, memory_mib, None)
    if debvm:
        bench_debvm.check_installed()
    context.call(ListVms())  # the daemon's own start is not measured
    if warm or standby:
        context.call(WarmImage(_default_image(context), memory_mib=memory_mib))
    begin = Beginning.COLD if cold else Beginning.WARM if warm else Beginning.STANDBY
    order = CreateVm(begin=begin, memory_mib=memory_mib)
    if standby:
        context.call(DeleteVm(context.call(order).name))  # from now on such are kept ready
    way = begin if cold or warm or standby else None
    measured: list[Run] = []
    with ExitStack() as stack:
        other = stack.enter_context(bench_debvm.image(context.note)) if debvm else None
        for number in range(runs):
            context.note(f"run {number + 1} of {runs}, load {os.getloadavg()[0]:.2f}")
            # The floor is that of the usual shape.
            found = _floor(context) if (warm or standby) and memory_mib is None else {}
            if count > 1:
                found |= many(context, order, count, at_once=parallel, idle=idle)
            else:
                found |= _one_by_one(context, order, way)
            if other is not None:
                directory, seconds = other
                emulated = context.call(GetStatus()).accelerator == "tcg"
                took_ms = bench_debvm.to_ssh(directory, emulated=emulated)
                found |= {DEBVM_IMAGE: seconds, DEBVM: took_ms}
            measured.append(found | _ratios(found))
    rows = ((name, [r[name] for r in measured if name in r]) for name in measured[0])
    report(context, runs, rows, _UNITS, targets(count, way))


def _default_image(context: Context) -> str:
    return context.call(ChooseDefaultImage()).name


def _floor(context: Context) -> Run:
    """What the bare VMM needs, in the same run: under the same load."""
    floor = context.call(MeasureFloor(_default_image(context)))
    return {
        RESTORED: floor.restore_ms,
        "bare VMM: restored, agent answers": floor.answer_ms,
        "bare VMM: booted, agent answers": floor.boot_ms,
    }


def _one_by_one(context: Context, order: CreateVm, way: Beginning | None) -> Run:
    measures: list[Callable[[], Run]] = [
        lambda: bench_vm.first_exec(context, order, begins=way or ""),
        lambda: bench_vm.to_ssh(context, order),
        lambda: bench_vm.fork(context, order),
        lambda: bench_vm.new_disk(context, order),
    ]
    if way in (None, Beginning.STANDBY):  # no command can ask for others
        flags = [] if order.memory_mib is None else ["--memory", str(order.memory_mib)]
        measures += [
            lambda: bench_vm.processes(context, flags),
            lambda: bench_vm.run_command(flags),
        ]
    found: Run = {}
    for measure in measures:
        if way is Beginning.STANDBY:
            context.call(AwaitStandby())
        found |= measure()
    return found


def _ratios(found: Run) -> Run:
    pairs = {TIMES_BARE: (TO_EXEC, RESTORED), TIMES_FASTER: (DEBVM, TO_SSH)}
    return {
        name: found[above] / found[below]
        for name, (above, below) in pairs.items()
        if above in found and below in found
    }


COMMAND = Command(
    path=("bench", "create"),
    summary="Measure creating VMs: each stage, first exec, ssh, forks, memory, deletion.",
    details="Needs an otherwise idle machine to mean much; the load is printed with the result. "
    "Each run makes VMs, uses them and deletes them. Where a row has a target for its median, "
    "that and whether it was met is printed beside it; targets are for software emulation.",
    run=run,
    reply=Report,
    mutates=True,
    options=(
        Option("runs", ("--runs",), "How often all is measured.", Kind.NUMBER, "N", 10),
        Option("cold", ("--cold",), "Boot each VM, also where there is a warm seed.", Kind.FLAG),
        Option(
            "warm",
            ("--warm",),
            "Begin each VM in a warm seed, made when there is none; measure the bare VMM as well.",
            Kind.FLAG,
        ),
        Option(
            "standby",
            ("--standby",),
            "Take VMs that stand ready, and wait for that before each.",
            Kind.FLAG,
        ),
        Option("count", ("--count",), "How many VMs a run makes.", Kind.NUMBER, "N", 1),
        Option("parallel", ("--parallel",), "Make the VMs of a run at once.", Kind.FLAG),
        Option(
            "idle",
            ("--idle",),
            "Leave the VMs of a run alone for 20 s, then see what the daemon used and ask each.",
            Kind.FLAG,
        ),
        *(option for option in SHAPE if option.name == "memory_mib"),
        Option(
            "debvm",
            ("--debvm",),
            "Measure debvm's VMs beside them; needs the packages debvm and mmdebstrap.",
            Kind.FLAG,
        ),
    ),
    examples=(
        "banger bench create --runs 5",
        "banger bench create --warm",
        "banger bench create --standby",
        "banger bench create --warm --debvm --runs 3",
        "banger bench create --warm --count 10 --parallel",
        "banger bench create --warm --count 50 --memory 128 --idle --runs 1",
    ),
)
