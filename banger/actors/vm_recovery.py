"""Taking a VM up again: after a start of the daemon, or of the VM's actor after a crash."""

from __future__ import annotations

import logging

from banger.actors.blocking import run_blocking
from banger.actors.services import Services
from banger.actors.snapshot_store import sweep_unfinished
from banger.actors.tap_pool import AcquireTap
from banger.actors.vm_runtime import HAS_VMM, Runtime
from banger.actors.vm_standing import Standing
from banger.guest.link import AgentLink
from banger.host import process
from banger.kernel.errors import BangerError
from banger.model.vm import VmState
from banger.vmm.base import Machine

log = logging.getLogger(__name__)


async def recover(services: Services, standing: Standing, runtime: Runtime) -> bool:
    """Make the record true again. False: the VM was to be no more, and is gone."""
    record = standing.record
    await run_blocking(sweep_unfinished, standing.directory)
    if record.state in (VmState.CREATING, VmState.DELETING) or record.lifetime.of_call:
        log.info("removing VM %s, left %s", standing.name, record.state)
        await runtime.remove()
        return False
    if record.state is VmState.FAILED:
        return True
    machine = await runtime.find_machine()
    if machine is not None and await _adopt(services, standing, runtime, machine):
        return True
    state, reason = record.state, record.reason
    if state in (VmState.STARTING, VmState.STOPPING):
        state = VmState.STOPPED if record.suspended is None else VmState.SUSPENDED
    elif state in HAS_VMM:
        if record.process is not None and record.process.boot_id != process.boot_id():
            state, reason = VmState.STOPPED, "the host was rebooted"
        else:
            state = VmState.CRASHED
            reason = "its VMM ended while the daemon was not running"
    if record.lifetime.remove and state is not VmState.SUSPENDED:
        log.info("removing VM %s, which has ended", standing.name)
        await runtime.remove()
        return False
    await runtime.free()
    if state is not record.state or record.process is not None:
        await standing.note(state=state, reason=reason, process=None)
    standing.enter(state, reason)
    return True


async def _adopt(
    services: Services, standing: Standing, runtime: Runtime, machine: Machine
) -> bool:
    """False: its guest was not to go on in this VMM, which has ended now."""
    record = standing.record
    if record.state is VmState.SUSPENDED or record.suspended is not None:
        # Its memory is on the disk, and has not been left behind yet.
        return await _end(machine)
    runtime.link = AgentLink(machine.dial, services.driver.traits.agent_channels)
    await runtime.watch(machine)
    await machine.drop_snapshot()
    # The machine itself knows best: a daemon may have ended between record and deed.
    paused = await machine.is_paused()
    if paused and record.state is VmState.RUNNING:
        # A pause would be in the record: it stands still for a snapshot that nobody will use.
        await machine.resume()
        paused = False
    if paused and record.state is VmState.STARTING:
        # It was to begin in a state that it may have only half of.
        return await _end(machine)
    # It has the TAP already: the pool says which one, and what network it is in.
    try:
        standing.lease = await services.taps.ask(AcquireTap(record.id, record.address))
    except BangerError as error:
        log.warning("VM %s: its network: %s", standing.name, error)
    await runtime.hooks.adopted(standing.seen_with_tap, record.options)
    if paused:
        runtime.link.patience.pause()
    state = VmState.PAUSED if paused else VmState.RUNNING
    await standing.note(state=state, reason="", process=machine.identity)
    standing.enter(state)
    return True


async def _end(machine: Machine) -> bool:
    await machine.kill()
    machine.close()
    return False
