"""The VMM of one VM, watched from its launch or adoption to its end."""

from __future__ import annotations

from collections.abc import Callable

import trio

from banger.actors.console import Console
from banger.kernel.errors import VmmError
from banger.model.text import printable
from banger.vmm.base import Machine, MachineEvent


class VmmWatch:
    """One after another: each run of the VM has a VMM of its own."""

    def __init__(self, console: Console) -> None:
        self.machine: Machine | None = None
        """The running one."""
        self.ended = trio.Event()
        """Set when the one expected last has ended."""
        self.unwatched = trio.Event()
        """Set while nobody watches: never begun, cancelled, or the VMM has ended."""
        self.unwatched.set()
        self.was_shut_down = False
        """The guest had shut down before the VMM ended."""
        self._console = console

    def expect(self) -> None:
        """A new VMM is about to be launched."""
        self.ended = trio.Event()

    async def attend(
        self,
        machine: Machine,
        on_reset: Callable[[], None],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Watch until the VMM's end, for ``nursery.start``: started when the VMM answers.

        ``on_reset`` is called when the guest reboots inside of it. Raises `VmmError` when it
        does not come up. Cancelling leaves the VMM running.
        """

        def on_event(event: MachineEvent) -> None:
            if event is MachineEvent.GUEST_RESET:
                on_reset()

        self.unwatched = unwatched = trio.Event()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._console.record, machine)
                self.machine = machine
                try:
                    self.was_shut_down = await machine.attend(on_event, task_status=task_status)
                except VmmError:
                    # It did not come up, and has been ended.
                    self.machine = None
                    self.ended.set()
                    raise
            self.machine = None
            machine.close()
            self.ended.set()
        finally:
            unwatched.set()

    async def last_words(self) -> str:
        """Wait for the VMM's end; what the guest said last."""
        await self.ended.wait()
        lines = [line for line in self._console.tail().splitlines() if line.strip()]
        said = printable(" / ".join(lines[-2:])) or "nothing"
        return f"the guest ended before it was up; its console's last lines: {said}"

    def let_go(self) -> None:
        """The VMM goes on without us."""
        if self.machine is not None:
            self.machine.close()
