"""The hooks: all that a plugin can do, in one place.

A capability is a class found by the entry-point group ``banger.capabilities``. The daemon
makes one object of it and calls its hooks around the life of every VM.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Generic, TypeVar

from banger.capabilities.check import Check
from banger.capabilities.guest import GuestContribution
from banger.capabilities.host import Host, Service, Step, Vm
from banger.capabilities.options import Options
from banger.model.settings import Setting

API_VERSION = 1
"""Goes up when a plugin written for the version before would no longer work."""

O = TypeVar("O", bound=Options)  # noqa: E741 - reads as what it is


class Capability(Generic[O]):
    """Base of every capability. Each hook does nothing until it is overridden.

    ``vm`` is the VM, ``options`` are the capability's options of that VM. A declared error
    (`BangerError`) from a hook refuses or fails the operation; any other exception, and a
    hook that takes longer than ``deadline_s``, turns the capability off as well. Hooks of
    different capabilities run at once unless ``after`` says otherwise.
    """

    api_version: ClassVar[int]
    """The `API_VERSION` this was written for."""
    name: ClassVar[str]
    """Like a VM's name; also that of the entry point."""
    summary: ClassVar[str]
    """One line."""
    options: ClassVar[type[Options]] = Options
    """The options of a VM; see `banger.capabilities.options`."""
    settings: ClassVar[tuple[Setting, ...]] = ()
    """Rows of ``[capabilities.NAME]``; a key is the bare name."""
    after: ClassVar[tuple[str, ...]] = ()
    """Capabilities whose hooks run before ours; in reverse when a VM stops. Need not be there."""
    late_files: ClassVar[bool] = False
    """The files it contributes may be laid down when the guest's init has come up already. False:
    something reads them while the guest boots, so that a VM that gets any is always booted."""
    nameless: ClassVar[bool] = False
    """`prepare` and `contribute` need of a VM its id, address, TAP and directory. Then they are
    called for VMs that are kept ready, too, with the default options, and once more with the VM's
    own name and options when it has become somebody's; if it does not, what `prepare` has made is
    undone. Such a VM is in no list."""
    deadline_s: ClassVar[float] = 10.0
    """For each hook. Commands (`banger.capabilities.command`) have none."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def defaults(self) -> O:
        """The options of a new VM that says nothing; override it to read settings."""
        return self.options()  # type: ignore[return-value]

    def checks(self) -> Sequence[Check]:
        """What the host needs, for ``banger doctor`` and before commands."""
        return ()

    def services(self) -> Sequence[Service]:
        """Actors that run as long as the daemon."""
        return ()

    async def admit(self, vm: Vm, options: O) -> None:
        """Refuse options that can't be honoured, before anything is made or changed."""

    async def prepare(self, vm: Vm, options: O, step: Step) -> None:
        """Make what the guest will need; its address and TAP are known, its VMM not started."""

    def contribute(self, vm: Vm, options: O, guest: GuestContribution) -> None:
        """Add to the guest's configuration. Pure: no input, no output, no memory."""

    async def started(self, vm: Vm, options: O, step: Step) -> None:
        """The guest's agent answers; the VM becomes running when all hooks are done."""

    async def changed(self, vm: Vm, before: O, options: O, step: Step) -> None:
        """The options were changed by ``vm set``; the VM may be running or stopped."""

    async def stopping(self, vm: Vm, options: O, step: Step) -> None:
        """The guest is about to be shut down."""

    async def stopped(self, vm: Vm, options: O, step: Step) -> None:
        """The VMM has ended, whatever the reason: give back what `prepare` took."""

    async def deleted(self, vm: Vm, options: O, step: Step) -> None:
        """The VM is about to be gone with its directory: forget it."""

    async def adopted(self, vm: Vm, options: O, step: Step) -> None:
        """A daemon that has just started found the VM running: take it up again."""


HOOKS = (
    "admit",
    "prepare",
    "contribute",
    "started",
    "changed",
    "stopping",
    "stopped",
    "deleted",
    "adopted",
)
AnyCapability = Capability[Any]


def overrides(capability: type[AnyCapability], hook: str) -> bool:
    """It has this hook of its own."""
    return getattr(capability, hook) is not getattr(Capability, hook)
