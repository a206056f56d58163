from __future__ import annotations

import os
import sys

from banger.commands.context import Context
from banger.commands.declare import SETTINGS, Command
from banger.kernel.errors import UsageError


def run(context: Context, *, flags: tuple[str, ...]) -> None:
    if context.json:
        raise UsageError("'daemon run' has no --json: it becomes the daemon")
    if not context.sink.final:
        raise UsageError("'daemon run' becomes the daemon", hint="run it from the host's shell")
    sys.stdout.flush()
    settings = [f"--set={flag}" for flag in flags]
    os.execv(sys.executable, [sys.executable, "-m", "banger.daemon", *settings])  # noqa: S606


COMMAND = Command(
    path=("daemon", "run"),
    summary="Be the daemon, in the foreground.",
    run=run,
    takes_terminal=True,
    mutates=True,
    options=(SETTINGS,),
    examples=("banger daemon run --set daemon.log_level=debug",),
)
