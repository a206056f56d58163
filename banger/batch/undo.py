"""Undoing what the commands of a block have created.

Each VM gets a label of its block for as long as the block runs. So also one is found whose
creation came to its end in the moment in which it was cancelled.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection

from banger.batch.problems import Place
from banger.batch.report import Report
from banger.client.ssh import forget_host
from banger.commands.context import Context
from banger.commands.sink import KeptSink
from banger.kernel.errors import BangerError, NotFound
from banger.model.requests.vms import DeleteVm, ListVms, SetVm
from banger.model.vm import VmState, VmView

LABEL = "banger.run"
SETTLE_S = 30.0
"""How long the daemon may take to undo creations that were cancelled."""
LOOK_EVERY_S = 0.05


def new_mark() -> str:
    """The value of a block's label."""
    return secrets.token_hex(6)


def label(mark: str | None) -> str:
    """As ``--label`` takes it; "" outside of blocks."""
    return f"{LABEL}={mark}" if mark else ""


def delete_marked(context: Context, report: Report, at: Place, marks: Collection[str]) -> None:
    """Delete the VMs with these marks. Errors are told, and the others are deleted as well."""
    with Context(context.session, KeptSink(), json=False) as own:
        for view in sorted(_settled(own, marks), key=lambda view: view.created_at, reverse=True):
            try:
                own.call(DeleteVm(view.name))
                forget_host(own.paths, view.name)
                report.undone(at, view.name, None)
            except NotFound:
                pass
            except BangerError as error:
                report.undone(at, view.name, error)


def unmark(context: Context, marks: Collection[str]) -> None:
    """Take the marks away from VMs that are to stay."""
    with Context(context.session, KeptSink(), json=False) as own:
        requests = [SetVm(view.name, labels={LABEL: None}) for view in _marked(own, marks)]
        own.daemon.call_all(requests)  # what has gone meanwhile needs none


def _settled(context: Context, marks: Collection[str]) -> list[VmView]:
    """Those there are once none is being created, or deleted, any more."""
    deadline = time.monotonic() + SETTLE_S
    while True:
        views = _marked(context, marks)
        moving = [v for v in views if v.state in (VmState.CREATING, VmState.DELETING)]
        if not moving or time.monotonic() > deadline:
            return [view for view in views if view not in moving]
        time.sleep(LOOK_EVERY_S)


def _marked(context: Context, marks: Collection[str]) -> list[VmView]:
    return [view for view in context.call(ListVms()) if view.labels.get(LABEL) in marks]
