"""Stopping a VM with its memory kept, and throwing that away."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import trio

from banger.actors.blocking import run_blocking
from banger.actors.origin import Origin
from banger.actors.snapshot_store import SUSPENDING
from banger.actors.vm_freeze import open_state, write_state
from banger.actors.vm_pause import let_go_on
from banger.actors.vm_runtime import Runtime
from banger.actors.vm_standing import Standing
from banger.kernel.errors import ConnectionLost
from banger.model.sizes import MIB
from banger.model.vm import VmState

ENDING_S = 2.0
"""How long after its connections a VMM that ends may take to be gone."""


def memory_file(directory: Path) -> Path:
    """In a suspended VM's directory."""
    return directory / "suspended"


def origin(standing: Standing) -> Origin | None:
    """What a suspended VM goes on from; None: it is booted."""
    record = standing.record
    if record.suspended is None:
        return None
    return Origin(memory_file(standing.directory), record.mac, record.suspended, same=True)


async def suspend(standing: Standing, runtime: Runtime, before: VmState) -> None:
    """When the memory can't be kept the VM is again what it was ``before``."""
    machine = runtime.vmm.machine
    if machine is None:
        raise ConnectionLost(f"the VMM of VM {standing.name!r} has just ended")
    new = standing.directory / f"{SUSPENDING}{secrets.token_hex(4)}"
    try:
        await machine.pause()
        if runtime.link is not None:
            runtime.link.patience.pause()
        file = await run_blocking(open_state, new, standing.record.spec.memory_mib * MIB)
        try:
            await write_state(standing.name, machine, file, {})
            await run_blocking(os.fsync, file)
        finally:
            os.close(file)
        fittings = await machine.fittings()
        await run_blocking(new.replace, memory_file(standing.directory))
        # From here on the VM is suspended: whoever finds its VMM ends it.
        await standing.save(state=VmState.SUSPENDED, suspended=fittings)
    except BaseException as error:
        with trio.CancelScope(shield=True):
            for file_made in (new, memory_file(standing.directory)):
                await run_blocking(_remove, file_made)
            if isinstance(error, ConnectionLost):
                with trio.move_on_after(ENDING_S):
                    await runtime.vmm.ended.wait()
            if not runtime.vmm.ended.is_set():
                if before is VmState.RUNNING:
                    await let_go_on(standing, runtime)
                await standing.note(state=before, suspended=None)
                standing.enter(before)
        # Else it is found out by a fresh start of the actor what has become of it.
        raise
    await machine.kill()
    await runtime.vmm.ended.wait()
    await runtime.free()
    await standing.note(process=None)
    standing.enter(VmState.SUSPENDED)


def remove_memory(directory: Path) -> None:
    """No error when there is none."""
    _remove(memory_file(directory))


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


async def forget_memory(standing: Standing) -> None:
    """The VM is an ordinary stopped one then."""
    await standing.save(state=VmState.STOPPED, suspended=None, reason="")
    await run_blocking(remove_memory, standing.directory)
