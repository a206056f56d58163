"""Holding a guest's CPUs, and letting them go on."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable

import trio

from banger.actors.vm_runtime import Runtime
from banger.actors.vm_standing import Standing
from banger.guest import agent
from banger.guest.link import AgentLink
from banger.kernel.errors import BangerError, ConnectionLost, TimedOut
from banger.model.vm import VmState
from banger.vmm.base import Machine

log = logging.getLogger(__name__)

PAUSE_DEADLINE_S = 10.0
CLOCK_DEADLINE_S = 5.0


async def pause(standing: Standing, runtime: Runtime) -> None:
    """Commands in the guest stand still with it; nobody's patience with them runs out."""
    async with runtime.cleaning:
        await standing.save(state=VmState.PAUSED)
        try:
            await _in_time(standing, lambda machine: machine.pause(), runtime)
        except BaseException:
            with trio.CancelScope(shield=True):
                await standing.note(state=standing.state)
            raise
        if runtime.link is not None:
            runtime.link.patience.pause()
    if standing.state is VmState.RUNNING:  # and has not ended meanwhile
        standing.enter(VmState.PAUSED)


async def resume(standing: Standing, runtime: Runtime) -> None:
    """Returns when the guest goes on, with its clock set right if its agent does that."""
    async with runtime.cleaning:
        await let_go_on(standing, runtime)
        if runtime.link is not None:
            await _set_clock(standing.name, runtime.link)
        await standing.note(state=VmState.RUNNING)
    if standing.state is VmState.PAUSED:
        standing.enter(VmState.RUNNING)


async def let_go_on(standing: Standing, runtime: Runtime) -> None:
    """Let the CPUs go on, whatever the VM's state is called meanwhile."""
    await _in_time(standing, lambda machine: machine.resume(), runtime)
    if runtime.link is not None:
        runtime.link.patience.resume()


async def _in_time(
    standing: Standing, command: Callable[[Machine], Awaitable[None]], runtime: Runtime
) -> None:
    machine = runtime.vmm.machine
    if machine is None:
        raise ConnectionLost(f"the VMM of VM {standing.name!r} has just ended")
    with trio.move_on_after(PAUSE_DEADLINE_S):
        await command(machine)
        return
    raise TimedOut(
        f"the VMM of VM {standing.name!r} does not obey within {PAUSE_DEADLINE_S:.0f} s",
        hint=f"'banger vm stop --force {standing.name}' ends it",
    )


async def _set_clock(name: str, link: AgentLink) -> None:
    try:
        with trio.fail_after(CLOCK_DEADLINE_S):
            await agent.set_clock(link, time.time_ns())
    except (BangerError, trio.TooSlowError) as error:
        log.warning("VM %s: its clock could not be set: %s", name, error or "no answer")
