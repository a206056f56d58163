"""What the daemon offers a capability."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from banger.host.keys import KeyPair
from banger.kernel.actor import Actor, Ref
from banger.model.firewall import Pin, Rules
from banger.model.network import Network
from banger.model.settings import Settings, Value
from banger.model.vm import VmState


class Vm(msgspec.Struct, frozen=True):
    """A VM as hooks see it. Fields that are not known yet are ""."""

    id: str
    """32 hex digits, never used again."""
    name: str
    image: str
    state: VmState
    labels: dict[str, str]
    directory: Path
    """Files of this VM; what a capability puts here goes when the VM is deleted."""
    address: str
    """IPv4, for the life of the VM."""
    mac: str
    tap: str
    """While it runs."""
    network: Network | None
    """None until it was given an address."""
    image_directory: Path = Path()
    """Of the image's files: ``root.ext4``, ``work-seed.ext4`` …; shared, only to be read."""


class CommandResult(msgspec.Struct, frozen=True):
    """Of a program on the host or in a guest; output is cut at 1 MiB."""

    code: int
    stdout: bytes
    stderr: bytes


class Firewall(Protocol):
    """banger's own nftables table: one transaction a change, put back when it is flushed."""

    async def put(self, key: str, rules: Rules) -> None:
        """Set this capability's rules under a key, such as a VM's id; the old ones go.

        Raises `UsageError` or `CommandFailed` when nft refuses them: then nothing has changed.
        """
        ...

    async def remove(self, key: str) -> None:
        """Take them away. Idempotent."""
        ...

    async def pin(self, pin: Pin) -> None:
        """Let a TAP's guest speak, as this MAC and address only. banger's own part does that."""
        ...

    async def unpin(self, tap: str) -> None:
        """Let it speak no more. Idempotent."""
        ...


class OwnSettings:
    """The rows a capability has declared, without their prefix."""

    def __init__(self, settings: Settings, capability: str) -> None:
        self._settings = settings
        self._prefix = f"capabilities.{capability}."

    def text(self, name: str) -> str:
        return self._settings.text(self._prefix + name)

    def number(self, name: str) -> int:
        return self._settings.number(self._prefix + name)

    def flag(self, name: str) -> bool:
        return self._settings.flag(self._prefix + name)

    def value(self, name: str) -> Value:
        return self._settings.origins[self._prefix + name].value


class Host(Protocol):
    """Handed to a capability when it is made. Nothing here blocks the daemon."""

    settings: OwnSettings
    resolvers: Sequence[str]
    """The setting ``network.resolvers``."""

    @property
    def key(self) -> KeyPair:
        """The installation's SSH key, with which root logs in to every guest. It changes when
        it is rotated: ask anew."""
        ...

    @property
    def firewall(self) -> Firewall: ...

    @property
    def directory(self) -> Path:
        """For what the capability must remember; made at the first use, 0700."""
        ...

    async def network(self) -> Network:
        """The bridge, made if need be. Raises `HostNotReady`."""
        ...

    async def vms(self) -> Sequence[tuple[Vm, Any]]:
        """All VMs with their options of this capability."""
        ...

    async def change_options(
        self, vm_name: str, options: dict[str, Any] | Callable[[Any], dict[str, Any]]
    ) -> None:
        """As ``vm set`` does: these fields of the capability's options, by name.

        A function is given the present options and returns such fields; nobody changes them
        in between. It must neither wait nor block; what it raises is raised here.

        Raises `NotFound`, `UsageError`, `IllegalState`, and whatever the hooks raise.
        """
        ...

    def service(self, name: str) -> Ref:
        """One of the capability's own service actors."""
        ...

    def publish(self, kind: str, **data: Any) -> None:
        """Tell everybody who listens (`PluginEvent`): data as in JSON, else TypeError.

        Never blocks.
        """
        ...

    async def run(
        self, argv: Sequence[str], *, stdin: bytes = b"", timeout_s: float = 30.0
    ) -> CommandResult:
        """Run a program on the host. Raises `HostNotReady` when it is missing, `TimedOut`."""
        ...

    async def guest_run(
        self,
        vm: Vm,
        argv: Sequence[str],
        *,
        timeout_s: float = 30.0,
        user: str = "root",
        workdir: str | None = None,
    ) -> CommandResult:
        """Run a command in a guest, from `started` on; in the user's home without ``workdir``.

        Raises `GuestError`, `IllegalState`, `TimedOut`.
        """
        ...


class Service(msgspec.Struct, frozen=True):
    """An actor that runs as long as the daemon; ``make`` builds it anew after a crash."""

    name: str
    make: Callable[[], Actor]


class Step:
    """One hook at work: progress to tell, and undo steps to leave behind.

    The undo steps are run, last first, when the operation that called the hook fails later,
    is given up, or the hook itself fails; each within 15 s.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self.undo_steps: list[Callable[[], Awaitable[None]]] = []

    def progress(self, text: str) -> None:
        """What is being done, a few words; shown beside the stage."""
        self._tell(str(text))

    def undo(self, action: Callable[[], Awaitable[None]]) -> None:
        """Leave this to be done should the operation fail. Idempotent, whatever was done."""
        self.undo_steps.append(action)
