from __future__ import annotations

import os
import sys

from banger.commands.context import Context
from banger.commands.declare import Command
from banger.kernel.errors import UsageError
from banger.settings import load_settings


def run(context: Context) -> int:
    if not context.sink.final:
        raise UsageError("the shell runs already")
    if context.json or not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("the shell needs a terminal", hint="'banger run -' reads commands")
    settings = load_settings(context.paths.config_file, os.environ)
    from banger.repl.shell import Shell

    return Shell(context.session, settings).run()


COMMAND = Command(
    path=("repl",),
    summary="Sit at a prompt: commands without 'banger', completed as you type.",
    details="'banger' alone does the same on a terminal. Commands run beside the prompt; F1 shows "
    "the keys. docs/repl.md tells more.",
    run=run,
    mutates=True,
    takes_terminal=True,
    examples=("banger repl",),
)
