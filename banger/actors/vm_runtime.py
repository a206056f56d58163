"""What one VM holds on the host while it runs, and what happens when its VMM ends."""

from __future__ import annotations

from collections.abc import Callable

import trio

from banger.actors.blocking import run_blocking
from banger.actors.bring_up import initramfs
from banger.actors.services import Services
from banger.actors.tap_pool import ReleaseAddress, ReleaseTap
from banger.actors.vm_standing import Standing
from banger.actors.vmm_watch import VmmWatch
from banger.capabilities.hooks import Hooks
from banger.guest.link import AgentLink
from banger.model.events import GuestRebooted, HookProgress
from banger.model.vm import VmState
from banger.vmm.base import Machine

HAS_VMM = (VmState.RUNNING, VmState.PAUSED)
_MAY_HAVE_UNRECORDED_VMM = (VmState.CREATING, VmState.STARTING, VmState.DELETING)


class Runtime:
    """Its VMM and who watches it, the channels to its guest, its hooks."""

    def __init__(
        self,
        services: Services,
        standing: Standing,
        vmm: VmmWatch,
        nursery: trio.Nursery,
        *,
        at_rest: Callable[[], None],
    ) -> None:
        """``nursery`` is where the VMM is watched; cancelled, it leaves the VMM running.

        ``at_rest`` is told when the VMM has ended by itself and nothing of it is left.
        """
        self.vmm = vmm
        self.link: AgentLink | None = None
        self.hooks = Hooks(services.capabilities, self._tell)
        self.cleaning = trio.Lock()
        """Held while what an ended VMM had is given back; a start must not overtake that."""
        self._services = services
        self._standing = standing
        self._nursery = nursery
        self._at_rest = at_rest

    async def watch(self, machine: Machine) -> None:
        """Returns when the VMM answers; the watching goes on beside. Raises `VmmError`."""
        await self._nursery.start(self._attend, machine)

    async def _attend(
        self,
        machine: Machine,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        def on_reset() -> None:
            self._standing.publish(GuestRebooted(self._standing.name))
            if self.link is not None:
                self._nursery.start_soon(self.link.reset)

        await self.vmm.attend(machine, on_reset, task_status=task_status)
        if self._standing.state in HAS_VMM:
            await self._ended_by_itself()

    async def _ended_by_itself(self) -> None:
        if self.vmm.was_shut_down:
            state, reason = VmState.STOPPED, ""
        else:
            state, reason = VmState.CRASHED, "its VMM ended without the guest shutting down"
        self._standing.enter(state, reason)
        async with self.cleaning:
            await self.free()
            await self._standing.note(state=state, reason=reason, process=None)
        self._at_rest()

    async def find_machine(self) -> Machine | None:
        """The running VMM: the recorded one, or one started just before the daemon died."""
        record, driver = self._standing.record, self._services.driver
        identity = record.process
        if identity is None and record.state in _MAY_HAVE_UNRECORDED_VMM:
            identity = await driver.find(record.id)
        if identity is None:
            return None
        return await driver.adopt(identity, self._standing.runtime)

    async def free(self) -> None:
        """Give back what a running VM holds on the host; its VMM must have ended."""
        standing = self._standing
        link, self.link = self.link, None
        if link is not None:
            await link.reset()
        seen, record = standing.seen_with_tap, standing.record
        standing.lease, standing.notes = None, ()
        path = initramfs(standing.directory)
        # They have nothing to do with each other, and netlink and nft take their time.
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.hooks.stopped, seen, record.options)
            nursery.start_soon(self._services.driver.forget, standing.runtime)
            nursery.start_soon(run_blocking, lambda: path.unlink(missing_ok=True))
            nursery.start_soon(self._services.taps.ask, ReleaseTap(record.id))

    async def remove(self) -> None:
        """End the VMM if one runs, give everything back, delete the record last."""
        standing = self._standing
        machine = self.vmm.machine or await self.find_machine()
        if machine is not None:
            await machine.kill()
            machine.close()
        await self.free()
        await self.hooks.deleted(standing.seen, standing.record.options)
        await self._services.taps.ask(ReleaseAddress(standing.record.id))
        await run_blocking(self._services.store.delete, standing.name)

    def _tell(self, capability: str, hook: str, text: str) -> None:
        self._standing.publish(HookProgress(self._standing.name, capability, hook, text))
