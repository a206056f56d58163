"""Undoing what the commands of a block have created."""

from __future__ import annotations

from contextlib import suppress

from banger.batch.execute import Created
from banger.batch.problems import Place
from banger.batch.report import Report
from banger.client.ssh import forget_host
from banger.commands.context import Context
from banger.commands.sink import KeptSink
from banger.kernel.errors import BangerError, NotFound
from banger.model.requests import DeleteVm, ShowVm


def delete(context: Context, report: Report, at: Place, made: Created) -> None:
    """Delete the VM unless it is gone, or another one has its name. Never raises an error of
    the daemon: it is told, and the others are undone as well."""
    try:
        with Context(context.session, KeptSink(), json=False) as own, suppress(NotFound):
            if own.call(ShowVm(made.name)).id != made.id:
                return
            own.call(DeleteVm(made.name))
            forget_host(own.paths, made.name)
            report.undone(at, made.name, None)
    except BangerError as error:
        report.undone(at, made.name, error)
