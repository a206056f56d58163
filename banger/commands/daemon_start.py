from __future__ import annotations

from banger.client import launch
from banger.commands.context import Context
from banger.commands.declare import SETTINGS, Command
from banger.model.requests.control import DaemonStatus, GetStatus


def run(context: Context, *, flags: tuple[str, ...]) -> None:
    running = launch.connect(context.session.places)
    if running is None:
        launch.start(context.session.places, flags)
    status = context.call(GetStatus())
    context.document(status)
    verb = "started" if running is None else "runs already"
    context.line(f"bangerd {status.version} {verb}, pid {status.pid}")


COMMAND = Command(
    path=("daemon", "start"),
    summary="Start the daemon, unless one runs.",
    details="Every command that needs the daemon starts it by itself.",
    run=run,
    reply=DaemonStatus,
    mutates=True,
    options=(SETTINGS,),
    examples=(
        "banger daemon start",
        "banger daemon start --set tap_pool.size=16",
    ),
)
