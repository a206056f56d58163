"""What a stack file says, as typed data."""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

import msgspec

from banger.model.labels import Labels
from banger.model.names import ImageName, VmName
from banger.model.sizes import parse_size
from banger.model.vm import MemoryMib, OptionValues, Vcpus

SECONDS_MAX = 86400.0
STEPS_MAX = 100
VMS_MAX = 500

Seconds = Annotated[float, msgspec.Meta(gt=0, le=SECONDS_MAX)]
GuestPath = Annotated[str, msgspec.Meta(pattern=r"^/[^\0\n]*\Z", max_length=4096)]
State = Literal["running", "stopped"]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=64 << 10)]


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One of ``run`` (a shell script), ``script`` (a file of one) and ``copy`` with ``to``."""

    run: Text | None = None
    script: Text | None = None
    copy: Text | None = None
    to: GuestPath | None = None
    user: str = ""
    """Who runs it, or owns the copy; "" is root, or whom the image says."""
    timeout: Seconds = 600.0

    @property
    def title(self) -> str:
        if self.copy is not None:
            return f"copy {self.copy} to {self.to}"
        if self.script is not None:
            return f"script {self.script}"
        first = (self.run or "").strip().splitlines()
        return f"run {first[0][:60]}" if first else "run"


class Health(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A command in the guest that exits with 0 once the VM does what it is there for."""

    command: Text | Annotated[list[Text], msgspec.Meta(min_length=1)]
    """A text is a shell's."""
    timeout: Seconds = 60.0
    every: Seconds = 1.0

    @property
    def argv(self) -> list[str]:
        return ["sh", "-c", self.command] if isinstance(self.command, str) else list(self.command)


class VmTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The keys of ``[vm.NAME]``. What is not said is the daemon's default, and is let alone."""

    image: ImageName | None = None
    vcpus: Vcpus | None = None
    memory: MemoryMib | None = None
    """MiB."""
    disk: str | None = None
    """A size, like ``8G``."""
    labels: Labels = {}
    options: OptionValues = {}
    state: State = "running"
    depends_on: list[VmName] = []
    health: Health | None = None
    provision: Annotated[list[Step], msgspec.Meta(max_length=STEPS_MAX)] = []

    @property
    def disk_bytes(self) -> int | None:
        return None if self.disk is None else parse_size(self.disk)


class Member(msgspec.Struct, frozen=True):
    """A VM of the stack. ``digests`` are those of its steps' files, by their paths as written."""

    name: str
    table: VmTable
    level: int
    digests: dict[str, str]

    @property
    def provision_digest(self) -> str:
        """Changes when anything of the steps changes; "" without any."""
        if not self.table.provision:
            return ""
        return _digest((self.table.provision, self.digests))

    @property
    def options_digest(self) -> str:
        return _digest(self.table.options) if self.table.options else ""


class Stack(msgspec.Struct, frozen=True):
    name: str
    directory: str
    """Of the file; paths in it are relative to it."""
    members: dict[str, Member]
    """Those that others depend on come first."""


def _digest(value: object) -> str:
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()[:16]
