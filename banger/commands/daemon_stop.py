from __future__ import annotations

from contextlib import suppress

import msgspec

from banger.client import launch
from banger.commands.context import Context
from banger.commands.declare import Command, Kind, Option
from banger.kernel.errors import ConnectionLost
from banger.model.requests.control import StopDaemon


class Stopped(msgspec.Struct, frozen=True):
    """``pid`` is null when none ran."""

    stopped: bool
    pid: int | None


def run(context: Context, *, vms: bool) -> None:
    connection = launch.connect(context.session.places)
    if connection is None:
        context.line("bangerd does not run")
        context.document(Stopped(stopped=False, pid=None))
        return
    # The daemon may be gone before its answer is.
    with connection, suppress(ConnectionLost):
        connection.call(StopDaemon(vms))
    launch.await_end(connection.hello.pid)
    context.line("bangerd stopped" + (" with its VMs" if vms else "; running VMs go on"))
    context.document(Stopped(stopped=True, pid=connection.hello.pid))


COMMAND = Command(
    path=("daemon", "stop"),
    summary="Stop the daemon; VMs go on running.",
    run=run,
    reply=Stopped,
    mutates=True,
    options=(Option("vms", ("--vms",), "Stop the VMs first.", Kind.FLAG),),
    examples=(
        "banger daemon stop",
        "banger daemon stop --vms",
    ),
)
