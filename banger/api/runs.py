"""``vm run``: a VM that is made for one command and belongs to the call that wants it."""

from __future__ import annotations

import secrets

import trio

from banger.actors import fleet, vm_requests
from banger.api import guests, vms
from banger.api.backend import Backend
from banger.kernel.actor import Ref
from banger.kernel.errors import ActorStopped, NotFound, UsageError
from banger.kernel.rpc import CallContext
from banger.model.lifetime import Lifetime
from banger.model.requests import runs as requests
from banger.model.requests.exec import ExecResult
from banger.model.vm import VmState

UNDOING_PAUSE_S = 0.05


async def run(backend: Backend, request: requests.RunVm, context: CallContext) -> ExecResult:
    """However the call ends, its VM is gone then; it is known by a token in its record."""
    name = request.command.name
    if request.vm.name != name or not request.vm.start:
        raise UsageError("the VM to be run is not the one of the command")
    token = secrets.token_hex(8)
    try:
        await vms.create(
            backend, request.vm, context, lifetime=Lifetime(remove=True, of_call=token)
        )
        return await guests.execute(backend, request.command, context)
    finally:
        with trio.CancelScope(shield=True):
            await _leave_nothing(backend, name, token)


async def _leave_nothing(backend: Backend, name: str, token: str) -> None:
    while (ref := await _find(backend, name, token)) is not None:
        try:
            view = await ref.ask(vm_requests.Describe())
        except ActorStopped:
            continue
        if view.state is not VmState.CREATING:
            await backend.fleet.ask(fleet.EndVm(ref))
            return
        # Its creation is just being undone.
        await trio.sleep(UNDOING_PAUSE_S)


async def _find(backend: Backend, name: str, token: str) -> Ref | None:
    """The actor of our VM. Another of the same name is not."""
    try:
        ref = await backend.vm(name)
        record = await ref.ask(vm_requests.GetRecord())
    except (NotFound, ActorStopped):
        return None
    return ref if record.lifetime.of_call == token else None
