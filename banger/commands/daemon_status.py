from __future__ import annotations

from banger.client import launch
from banger.commands.context import Context
from banger.commands.declare import Command
from banger.kernel.errors import NotFound
from banger.model.requests.control import DaemonStatus, GetStatus


def run(context: Context) -> None:
    connection = launch.connect(context.session.places)
    if connection is None:
        raise NotFound("bangerd does not run", hint="any command that needs it starts it")
    with connection:
        status = connection.call(GetStatus())
    context.document(status)
    states = ", ".join(f"{count} {state}" for state, count in sorted(status.vms.items()))
    context.details(
        [
            ("pid", str(status.pid)),
            ("version", status.version),
            ("uptime", f"{status.uptime_s:.0f} s"),
            ("vms", states or "none"),
            ("accelerator", status.accelerator or "not determined yet"),
            ("network", f"{status.subnet or 'not set up'} on {status.bridge}"),
            ("socket", status.socket),
            *(("unreadable", reason) for reason in status.quarantined.values()),
        ]
    )


COMMAND = Command(
    path=("daemon", "status"),
    summary="Show the daemon's state.",
    run=run,
    reply=DaemonStatus,
    examples=("banger daemon status",),
)
