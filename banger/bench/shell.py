from __future__ import annotations

from banger.bench import batch, repl, tui
from banger.commands.bench_report import Report, report
from banger.commands.context import Context
from banger.commands.declare import Command, Kind, Option
from banger.kernel.errors import UsageError
from banger.model.requests.vms import ListVms


def run(context: Context, *, runs: int) -> None:
    if runs < 1:
        raise UsageError(f"--runs {runs}: at least one run is needed")
    context.call(ListVms())  # the daemon's own start is not measured
    measured = [batch.measure(context) | repl.measure() | tui.measure(context) for _ in range(runs)]
    report(context, runs, ((name, [run[name] for run in measured]) for name in measured[0]), {})


COMMAND = Command(
    path=("bench", "shell"),
    summary="Measure the faces: the shell, files of commands, the full-screen view.",
    details="Of the keys of a long line, typed beside 500 made-up VMs, the slowest counts. "
    "No VM is started; one is made and deleted in each run.",
    run=run,
    reply=Report,
    options=(Option("runs", ("--runs",), "How many times.", Kind.NUMBER, "N", 5),),
    examples=("banger bench shell",),
)
