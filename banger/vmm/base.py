"""What a driver is: data about what it can do, and a machine to start or to adopt.

Nothing here is QEMU's: a Firecracker driver with its HTTP API, raw disks, vsock and jailer
fits behind the same two protocols.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import msgspec
import trio

from banger.host.paths import Paths
from banger.host.ram_file import RamFile
from banger.model.fittings import Fittings
from banger.model.machine import Card, DiskFormat, Drive
from banger.model.process import ProcessIdentity
from banger.model.settings import Settings


class Traits(msgspec.Struct, frozen=True):
    """What a driver can do, for those who plan a machine."""

    disk_formats: tuple[DiskFormat, ...]
    """The best first."""
    agent_channels: int
    """How many connections to the agent can be open at once."""
    saves: bool = False
    """Whether machines can be saved, and new ones begin in a saved state."""


class Ram(msgspec.Struct, frozen=True):
    """A file that is the guest's memory, and as large."""

    file: Path
    shared: bool
    """True: what the guest writes goes there. False: copy-on-write, the file stays as it is."""


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
    ram: Ram | None = None
    """None: memory of the VMM's own."""
    state: Path | None = None
    """What `Machine.save` wrote: the machine begins in that state, paused. Its saved machine had
    the same shape, drives and cards in the same order, and the same `balloon`; what is behind
    them may be other files and other TAPs, and disks may be larger after `Machine.resize_disk`."""
    agent_ports: int | None = None
    """None: as many as the driver begins with."""
    balloon: bool = True
    """Memory that the guest frees goes back to the host. Not together with a private `ram`."""
    background: bool = False
    """Others go first when the CPU is short."""


class DiskSwitch(msgspec.Struct, frozen=True):
    """From one point on the guest writes to ``overlay``, new and empty, not to ``frozen``."""

    frozen: Path
    overlay: Path


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

        Reports as started when the VMM answers and has taken up the plan's ``state``, if there
        is one. True: the guest was shut down; False: the VMM ended by itself. Cancelling leaves
        the VMM running. Raises `VmmError` when it does not come up.
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

    async def pause(self) -> None:
        """Stop the guest's CPUs. Raises `VmmError`, `ConnectionLost`."""
        ...

    async def resume(self) -> None:
        """Let a paused guest go on, or one that began in a saved state. Raises as `pause`."""
        ...

    async def is_paused(self) -> bool:
        """Raises as `pause`."""
        ...

    async def save(self, file: int) -> None:
        """Write the state of the paused machine to a descriptor; it can be resumed after that.

        With a shared `Ram` the memory is left out: it is in that file already. Cancelled,
        the machine is as before and what was written is of no use. Raises as `pause`.
        """
        ...

    async def snapshot(self, file: int, switches: Mapping[str, DiskSwitch]) -> float:
        """Write the whole state, memory included, to a descriptor, and switch disks at that point.

        The guest runs on while its memory is written, and stands still at the end only; a paused
        one stays so. ``switches`` are by the drives' serials. Returns the milliseconds it stood
        still. Raises as `pause`; then disks may have been switched or not, and the guest goes on.
        """
        ...

    async def may_fork(self) -> bool:
        """Whether `fork` is possible and worth it: the memory is a private `Ram`, can be read, and
        the guest has not changed much of it yet."""
        ...

    async def copy_base(self, ram: RamFile) -> None:
        """Copy to ``ram``, new and as large as the memory, what the guest can't change: the first
        part of a `fork`. The guest runs on. Raises as `pause`."""
        ...

    async def fork(self, file: int, ram: RamFile, switches: Mapping[str, DiskSwitch]) -> float:
        """Like `snapshot`, but with the memory in ``ram``, after `copy_base`, and sealed then.

        It is faster, and what the guest has changed is copied while it stands still. Raises
        as `snapshot`.
        """
        ...

    async def drop_snapshot(self) -> None:
        """Give up a `snapshot` that an earlier daemon was making. Raises as `pause`."""
        ...

    async def fittings(self) -> Fittings:
        """What a machine must have that is to begin in this one's state."""
        ...

    async def resize_disk(self, serial: str, size_bytes: int) -> None:
        """Make this drive's overlay larger; the guest sees it at once. Raises as `pause`."""
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

    async def likeness(self, plan: MachinePlan) -> str:
        """All that a machine must have in common with a saved one to begin in its state, but
        for the contents of files: the VMM's version, the kind of CPU, devices. Two plans with the
        same text can exchange states. Raises `HostNotReady`."""
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
