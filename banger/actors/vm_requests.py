"""What a VM's actor can be asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from banger.actors.console import Console
from banger.actors.origin import Origin
from banger.capabilities.host import Vm
from banger.guest.link import AgentLink
from banger.host.ram_file import RamFile
from banger.kernel.message import Fault, Request
from banger.kernel.store import RecordStore
from banger.model.lifetime import LifetimeChange
from banger.model.snapshot import SnapshotRecord
from banger.model.vm import Beginning, OptionValues, VmRecord, VmView


class Create(Request[VmView], frozen=True):
    """The first request of a new VM. Abandoned, it is undone."""

    start: bool
    begin: Beginning = Beginning.STANDBY
    origin: Origin | None = None
    """What its guest begins in; None: it is booted, or begins in a warm seed."""
    fault: Fault | None = None


class Start(Request[VmView], frozen=True):
    """Abandoned, it is undone."""

    fault: Fault | None = None


class Stop(Request[VmView], frozen=True):
    """Goes on to its end when abandoned, like `Delete`."""

    force: bool = False
    reason: str = ""
    """Why, when nobody asked for it."""


class Restart(Request[VmView], frozen=True):
    """Abandoned, it leaves the VM stopped."""


class Pause(Request[VmView], frozen=True):
    """Goes on to its end when abandoned, like `Resume`."""


class Resume(Request[VmView], frozen=True):
    pass


class Frozen(msgspec.Struct, frozen=True):
    record: SnapshotRecord
    ram: RamFile | None
    """Its memory, for whoever asked to close; None: that is in the state."""


class Snapshot(Request[Frozen], frozen=True):
    """Of a running or paused VM. ``store`` says where it is put."""

    name: str
    store: RecordStore[SnapshotRecord]
    brief: bool = False
    """It need not outlast this daemon, so its memory may be kept apart."""


class Suspend(Request[VmView], frozen=True):
    """Stop the VM and keep its memory. Goes on to its end when abandoned."""


class Restore(Request[VmView], frozen=True):
    """Back to what the VM was at a snapshot. Goes on to its end when abandoned."""

    snapshot: SnapshotRecord
    directory: Path
    fault: Fault | None = None


class Delete(Request[None], frozen=True):
    """The actor ends with it."""


class Change(Request[VmView], frozen=True):
    """Set the shape, labels (None removes one), options of capabilities, and lifetime.

    ``shape`` has fields of `VmSpec`, those to be changed; the VM must be stopped for it.
    ``options`` may be a function of the recorded ones, called when nobody else can change them.
    Abandoned, it is undone, but for a disk that has grown.
    """

    shape: dict[str, int] = {}
    labels: dict[str, str | None] = {}
    options: OptionValues | Callable[[OptionValues], OptionValues] = {}
    lifetime: LifetimeChange = LifetimeChange()


class Seen(msgspec.Struct, frozen=True):
    vm: Vm
    options: OptionValues


class Look(Request[Seen], frozen=True):
    """The VM as hooks see it."""


class Describe(Request[VmView], frozen=True):
    pass


class GetRecord(Request[VmRecord], frozen=True):
    pass


class GetLink(Request[AgentLink], frozen=True):
    """The channels to the guest's agent, valid while the VM runs."""


class GetLinkForHooks(Request[AgentLink], frozen=True):
    """The same while the VM is still coming up, for hooks that run then."""


class GetConsole(Request[Console], frozen=True):
    pass
