"""What a batch file costs beyond its commands."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from banger.batch.command import run
from banger.commands.bench_report import since
from banger.commands.context import Context
from banger.commands.sink import KeptSink
from banger.model.requests.vms import ListVms

COMMANDS = 200
REQUEST = "vm list --json\n"
CHECKED = "vm create {} --memory 512 --label app=web --no-start\n"


def measure(context: Context) -> dict[str, float]:
    """Milliseconds a command of a file, by what was measured."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "bench.bgr")
        file.write_text(REQUEST * COMMANDS)
        whole_ms = _run(context, file, check_only=False)
        begun = time.perf_counter()
        for _ in range(COMMANDS):
            context.call(ListVms())
        asked_ms = since(begun)
        file.write_text("".join(CHECKED.format(f"vm-{n}") for n in range(COMMANDS)))
        checked_ms = _run(context, file, check_only=True)
    return {
        "batch: a command beyond its request": (whole_ms - asked_ms) / COMMANDS,
        "batch: reading and checking a command": checked_ms / COMMANDS,
    }


def _run(context: Context, file: Path, *, check_only: bool) -> float:
    """Milliseconds of all of it."""
    with Context(context.session, KeptSink(), json=False) as own:
        begun = time.perf_counter()
        run(own, file=str(file), arguments=(), check_only=check_only, dry=False)
        return since(begun)
