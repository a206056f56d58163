"""A command in a VM of its own."""

from __future__ import annotations

from banger.kernel.message import Request
from banger.model.requests.exec import Exec, ExecResult
from banger.model.requests.vms import CreateVm


class RunVm(Request[ExecResult], frozen=True, tag="vm.run"):
    """Create a VM, run a command in it, delete it. However the call ends, the VM is gone.

    ``vm`` and ``command`` have the same name. stream: events of the creation, then as of `Exec`;
    feed: as of `Exec`, kept until the command runs.
    """

    vm: CreateVm
    command: Exec
