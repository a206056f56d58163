"""Ending a guest: through its agent, then by ACPI, then by force, each with a deadline."""

from __future__ import annotations

import logging

import trio

from banger.guest import agent
from banger.guest.link import AgentLink
from banger.kernel.errors import BangerError
from banger.vmm.base import Machine

log = logging.getLogger(__name__)

REQUEST_DEADLINE_S = 5.0
POWER_BUTTON_DEADLINE_S = 10.0


async def shut_down(
    name: str,
    machine: Machine,
    link: AgentLink | None,
    ended: trio.Event,
    *,
    force: bool,
    timeout_s: float,
) -> None:
    """Returns when the VMM has ended, which ``ended`` tells.

    The agent passes the request on to the guest's init, which has ``timeout_s`` to obey.
    """
    if not force:
        if link is not None and await _ask_agent(name, link):
            with trio.move_on_after(timeout_s):
                await ended.wait()
                return
        log.warning("VM %s does not shut down by its agent", name)
        if await _press_power_button(name, machine, ended):
            return
    await machine.kill()
    await ended.wait()


async def _ask_agent(name: str, link: AgentLink) -> bool:
    with trio.move_on_after(REQUEST_DEADLINE_S):
        try:
            await agent.power_off(link)
        except BangerError as error:
            log.warning("VM %s: its agent does not power off: %s", name, error)
        else:
            return True
    return False


async def _press_power_button(name: str, machine: Machine, ended: trio.Event) -> bool:
    with trio.move_on_after(POWER_BUTTON_DEADLINE_S):
        try:
            await machine.press_power_button()
        except BangerError as error:
            log.warning("VM %s: no power button: %s", name, error)
        else:
            await ended.wait()
            return True
    return False
