"""A VM: what was asked for, what is kept, what is shown."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import msgspec

from banger.kernel.errors import IllegalState
from banger.model.fittings import Fittings
from banger.model.labels import Labels
from banger.model.lifetime import Lifetime, LifetimeView
from banger.model.names import ImageName, VmName
from banger.model.process import ProcessIdentity
from banger.model.sizes import MIB, TIB

VCPUS_MAX = 64
MEMORY_MIB_MIN = 128
MEMORY_MIB_MAX = 1 << 20
DISK_BYTES_MIN = 64 * MIB
DISK_BYTES_MAX = 16 * TIB

MachineId = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}\Z")]
LayerId = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{16}\Z")]
Vcpus = Annotated[int, msgspec.Meta(ge=1, le=VCPUS_MAX)]
MemoryMib = Annotated[int, msgspec.Meta(ge=MEMORY_MIB_MIN, le=MEMORY_MIB_MAX)]
OptionValues = dict[str, dict[str, Any]]
"""Options of capabilities: by the capability's name, then by field."""

DiskBytes = Annotated[int, msgspec.Meta(ge=DISK_BYTES_MIN, le=DISK_BYTES_MAX)]


class VmState(StrEnum):
    """Where a VM is in its life.

    ::

        creating ──► running ◄──► paused            crashed: the VMM ended by itself
            │         │  ▲                          failed: banger gave up on it; says why
            │         ▼  │
            │     stopping │ starting
            │         │    │
            └───────► stopped ──► deleting ──► gone
    """

    CREATING = "creating"
    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPING = "stopping"
    STOPPED = "stopped"
    SUSPENDED = "suspended"
    CRASHED = "crashed"
    FAILED = "failed"
    DELETING = "deleting"


ENDED = (VmState.STOPPED, VmState.CRASHED, VmState.FAILED)
AT_REST = (*ENDED, VmState.SUSPENDED)


class Verb(StrEnum):
    """What can be done with a VM that exists."""

    START = "start"
    STOP = "stop"
    RESTART = "restart"
    PAUSE = "pause"
    RESUME = "resume"
    SNAPSHOT = "snapshot"
    RESTORE = "restore"
    SUSPEND = "suspend"
    SET = "set"
    EXEC = "exec"
    DELETE = "delete"


_LEGAL: dict[VmState, frozenset[Verb]] = {
    VmState.CREATING: frozenset(),
    VmState.STARTING: frozenset(),
    VmState.RUNNING: frozenset(
        {
            Verb.STOP,
            Verb.RESTART,
            Verb.PAUSE,
            Verb.SNAPSHOT,
            Verb.RESTORE,
            Verb.SUSPEND,
            Verb.SET,
            Verb.EXEC,
            Verb.DELETE,
        }
    ),
    VmState.PAUSED: frozenset(
        {Verb.RESUME, Verb.SNAPSHOT, Verb.RESTORE, Verb.SUSPEND, Verb.STOP, Verb.DELETE}
    ),
    VmState.SUSPENDED: frozenset({Verb.START, Verb.RESTORE, Verb.STOP, Verb.DELETE}),
    VmState.STOPPING: frozenset(),
    VmState.STOPPED: frozenset({Verb.START, Verb.SET, Verb.RESTORE, Verb.DELETE}),
    VmState.CRASHED: frozenset({Verb.START, Verb.SET, Verb.RESTORE, Verb.DELETE}),
    VmState.FAILED: frozenset({Verb.DELETE}),
    VmState.DELETING: frozenset(),
}


def guard(name: str, state: VmState, verb: Verb) -> None:
    """Raise `IllegalState` unless the verb is legal in this state."""
    legal = _LEGAL[state]
    if verb not in legal:
        if state is VmState.PAUSED and verb is not Verb.PAUSE:
            hint = f"'banger vm resume {name}' lets it go on; legal now: {', '.join(sorted(legal))}"
        elif legal:
            hint = "legal now: " + ", ".join(sorted(legal))
        else:
            hint = f"wait until it is no longer {state}"
        raise IllegalState(f"can't {verb} VM {name!r}: it is {state}", hint=hint)


class Beginning(StrEnum):
    """How a new VM's guest begins at best: what is not there is made up for by the next."""

    STANDBY = "standby"
    """It stands ready."""
    WARM = "warm"
    """In a warm seed."""
    COLD = "cold"
    """It is booted."""


class VmSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The shape of a VM as asked for."""

    image: ImageName
    vcpus: Vcpus
    memory_mib: MemoryMib
    disk_bytes: DiskBytes
    """Size of the root disk as the guest sees it."""


def _without_host_key(record: dict[str, Any]) -> dict[str, Any]:
    """The guest's SSH host key is read from its file."""
    return {field: value for field, value in record.items() if field != "host_public_key"}


def _without_seed(record: dict[str, Any]) -> dict[str, Any]:
    """All VMs of the second version were booted, from disks over their images."""
    return {**record, "seed": "", "seed_work": False}


RECORD_VERSION = 3
RECORD_MIGRATIONS = {1: _without_host_key, 2: _without_seed}


class VmRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is kept of a VM on disk. Written before each side effect it announces.

    ``state`` is the state intended by the last operation; what is true is found out from
    ``process`` when the daemon starts.
    """

    id: MachineId
    """32 hex digits, never used again; also the machine-id of the guest."""
    name: VmName
    spec: VmSpec
    image_id: str
    state: VmState
    created_at: float
    """Unix seconds."""
    address: str
    """IPv4; "" until it was given one."""
    mac: str
    driver: str
    labels: Labels = {}
    options: OptionValues = {}
    lifetime: Lifetime = Lifetime()
    process: ProcessIdentity | None = None
    """The VMM, while one is supposed to run."""
    reason: str = ""
    """Why it is crashed or failed."""
    layers: list[LayerId] = []
    """What its disks lie on that was frozen of it, or of the VM it was made from; lowest first."""
    suspended: Fittings | None = None
    """Its memory is kept, and this machine goes on with it."""
    seed: str = ""
    """The warm seed that its root disk lies on; "": none, it lies on the image's."""
    seed_work: bool = False
    """Whether its work disk lies on the seed's as well."""

    def __post_init__(self) -> None:
        if self.address:
            from ipaddress import IPv4Address  # clients that read no records need none

            IPv4Address(self.address)

    @property
    def short_id(self) -> str:
        return self.id[:8]


class VmView(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A VM as ``vm show`` and ``vm list`` show it. The field names are a stable interface."""

    name: str
    state: VmState
    image: str
    address: str
    mac: str
    pid: int | None
    """Of the VMM; null when none runs."""
    vcpus: int
    memory_mib: int
    disk_bytes: int
    """What the guest sees."""
    disk_allocated_bytes: int
    """What its disks take on the host, the shared image not counted."""
    created_at: str
    """UTC, RFC 3339."""
    id: str
    driver: str
    accelerator: str | None
    tap: str | None
    reason: str
    labels: dict[str, str]
    options: OptionValues
    """Options of capabilities that differ from their built-in defaults."""
    notes: list[str] = []
    """What the guest had to say when it was last started, a line each."""
    lifetime: LifetimeView = LifetimeView()
