from __future__ import annotations

import sys

from banger.commands.context import Context
from banger.commands.declare import Command
from banger.commands.program import run_program
from banger.kernel.errors import UsageError


def run(context: Context) -> int:
    if context.json:
        raise UsageError("'banger tui' has no --json", hint="see 'banger vm list' and 'events'")
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("'banger tui' needs a terminal", hint="see 'banger vm stats --watch'")
    if not context.sink.final:  # a loop and signals of its own are for a process of its own
        return run_program(context, [sys.executable, "-m", "banger.cli.main", "tui"])
    import asyncio

    from banger.tui.app import Tui

    return asyncio.run(Tui(context.session.places).run())


COMMAND = Command(
    path=("tui",),
    summary="Show all VMs full-screen: watch, start, stop, log in.",
    details="Keys are at the bottom; ? shows them all. Nothing there ends VMs or the daemon by "
    "itself.",
    run=run,
    takes_terminal=True,
    examples=("banger tui",),
)
