from __future__ import annotations

import os
import sys

from banger.commands.context import Context
from banger.commands.declare import SETTINGS, Command
from banger.kernel.errors import UsageError


def run(context: Context, *, flags: tuple[str, ...]) -> None:
    if context.json:
        raise UsageError("'daemon run' has no --json: it becomes the daemon")
    sys.stdout.flush()
    settings = [f"--set={flag}" for flag in flags]
    os.execv(sys.executable, [sys.executable, "-m", "banger.daemon", *settings])  # noqa: S606


COMMAND = Command(
    path=("daemon", "run"),
    summary="Be the daemon, in the foreground.",
    run=run,
    mutates=True,
    options=(SETTINGS,),
)
