"""What a driver is: data about what it can do, and a machine to start or to adopt.

Nothing here is QEMU's: a Firecracker driver with its HTTP API, raw disks, vsock and jailer
fits behind the same two protocols.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import msgspec
import trio

from banger.host.paths import Paths
from banger.model.machine import Card, DiskFormat, Drive
from banger.model.process import ProcessIdentity
from banger.model.settings import Settings


class Traits(msgspec.Struct, frozen=True):
    """What a driver can do, for those who plan a machine."""

    disk_formats: tuple[DiskFormat, ...]
    """The best first."""
    agent_channels: int
    """How many connections to the agent can be open at once."""


class MachinePlan(msgspec.Struct, frozen=True):
    """All a driver needs to start a machine. Plain data, so it can be shown and tested."""

    id: str
    name: str
    vcpus: int
    memory_mib: int
    kernel: Path
    initramfs: Path
    kernel_arguments: tuple[str, ...]
    drives: tuple[Drive, ...]
    cards: tuple[Card, ...]
    runtime: Path
    """A directory for sockets, made by the driver, removed by `Vmm.forget`."""
    log: Path
    """What the VMM itself writes."""


class MachineEvent(StrEnum):
    GUEST_RESET = "guest-reset"
    """The guest rebooted inside the same VMM."""


class Machine(Protocol):
    """A running VMM. It outlives the daemon; `attend` watches it while there is one."""

    identity: ProcessIdentity
    accelerator: str

    async def attend(
        self,
        on_event: Callable[[MachineEvent], None],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> bool:
        """Hold the control channel until the VMM has exited, for ``nursery.start``.

        Reports as started when the VMM answers. True: the guest was shut down; False: the
        VMM ended by itself. Cancelling leaves the VMM running. Raises `VmmError` when
        it does not come up.
        """
        ...

    async def dial(self, channel: int) -> trio.abc.Stream:
        """A connection to the guest agent. Raises OSError, `VmmError`, `ConnectionLost`."""
        ...

    async def open_console(self) -> trio.abc.Stream:
        """The serial console. Raises OSError."""
        ...

    async def booted(self) -> None:
        """The guest is up. Until then a reboot of it ends the VMM, as a boot that failed."""
        ...

    async def press_power_button(self) -> None:
        """Ask the guest by ACPI to shut down. Raises `VmmError`, `ConnectionLost`."""
        ...

    async def kill(self) -> None:
        """End the VMM now and wait until it has gone."""
        ...

    def close(self) -> None:
        """Let go of the process without ending it. Idempotent."""
        ...


class Vmm(Protocol):
    """A driver."""

    name: str
    traits: Traits

    @property
    def accelerator(self) -> str | None:
        """ "kvm" or "tcg"; None while it was not needed yet to find out."""
        ...

    async def launch(self, plan: MachinePlan) -> Machine:
        """Start a VMM in its own session. Raises `HostNotReady` or `VmmError`."""
        ...

    async def adopt(self, identity: ProcessIdentity, runtime: Path) -> Machine | None:
        """The machine of a VMM that was started earlier; None when it has gone."""
        ...

    async def find(self, machine_id: str) -> ProcessIdentity | None:
        """The VMM of this machine, if one runs that no record tells of."""
        ...

    async def forget(self, runtime: Path) -> None:
        """Remove what `launch` made, after the VMM's exit. Idempotent."""
        ...


class DriverContext(msgspec.Struct, frozen=True):
    """What a driver is built from."""

    settings: Settings
    paths: Paths
