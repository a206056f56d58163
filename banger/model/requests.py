"""Every request of the daemon's socket, its reply type and its streams.

The tag of a request is its name on the wire. ``stream:`` in a docstring names the items
the server sends before the result; ``feed:`` the items the client may send meanwhile.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import msgspec

from banger.kernel.message import Fault, Request
from banger.model.build import BuildOptions
from banger.model.command import Option, Syntax
from banger.model.event_filter import Filter
from banger.model.finding import Finding
from banger.model.image import (
    BuildOutcome,
    DefaultImage,
    ImageInit,
    ImageView,
    ImportFormat,
    Pruned,
    RegisterOutcome,
)
from banger.model.lifetime import LifetimeChange
from banger.model.names import ImageName, VmName
from banger.model.seed import SeedFloor, SeedView
from banger.model.settings import Setting
from banger.model.snapshot import SnapshotView
from banger.model.stats import VmStats
from banger.model.vm import (
    DiskBytes,
    LabelKey,
    Labels,
    LabelValue,
    MemoryMib,
    OptionValues,
    Vcpus,
    VmView,
)

GuestPath = Annotated[str, msgspec.Meta(pattern="^/[^\0]*$", max_length=4096)]
HostPath = Annotated[str, msgspec.Meta(pattern="^/[^\0]*$", max_length=4096)]
Mode = Annotated[int, msgspec.Meta(ge=0, le=0o7777)]


class Reply(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of replies and stream items."""


# --- the daemon itself ---


class DaemonStatus(Reply, frozen=True):
    pid: int
    version: str
    uptime_s: float
    vms: dict[str, int]
    """How many VMs are in each state."""
    quarantined: dict[str, str]
    """Names whose record can't be read, and why."""
    accelerator: str | None
    """kvm or tcg; null until a VM was started."""
    bridge: str
    subnet: str | None
    socket: str


class GetStatus(Request[DaemonStatus], frozen=True, tag="daemon.status"):
    pass


class StopDaemon(Request[None], frozen=True, tag="daemon.stop"):
    """Stop the daemon; its VMs too if ``vms``."""

    vms: bool = False


class ReadEvents(Request[None], frozen=True, tag="events.read"):
    """stream: Recorded. With ``follow`` it runs until cancelled.

    ``after`` is the number of the last event that is known, ``since`` a Unix time. With
    neither: all that are kept, or with ``follow`` only what comes. A reader that is too slow,
    or was away for too long, gets `Lost` in place of what is no longer there; ``where`` does
    not keep it out.
    """

    after: Annotated[int, msgspec.Meta(ge=0)] | None = None
    since: float | None = None
    follow: bool = False
    where: Annotated[Filter, msgspec.Meta(max_length=32)] = {}


# --- VMs ---


class SnapshotName(Reply, frozen=True):
    vm: VmName
    name: VmName


class CreateVm(Request[VmView], frozen=True, tag="vm.create"):
    """None means the default of the settings. stream: events of this creation.

    ``fault`` is refused unless the daemon was started for tests.
    """

    name: VmName | None = None
    image: ImageName | None = None
    vcpus: Vcpus | None = None
    memory_mib: MemoryMib | None = None
    disk_bytes: DiskBytes | None = None
    labels: Labels = {}
    options: OptionValues = {}
    lifetime: LifetimeChange = LifetimeChange()
    snapshot: SnapshotName | None = None
    """What it is to begin in; image and shape are those of it then."""
    start: bool = True
    cold: bool = False
    """Boot it, also where there is a warm seed."""
    fault: Fault | None = None


class ListVms(Request[list[VmView]], frozen=True, tag="vm.list"):
    pass


class ShowVm(Request[VmView], frozen=True, tag="vm.show"):
    name: VmName


class StartVm(Request[VmView], frozen=True, tag="vm.start"):
    """stream: events of this start."""

    name: VmName
    fault: Fault | None = None


class StopVm(Request[VmView], frozen=True, tag="vm.stop"):
    name: VmName
    force: bool = False
    """Kill the VMM at once; of a suspended VM: throw its memory away."""
    suspend: bool = False
    """Keep its memory: the next start goes on from there."""


class RestartVm(Request[VmView], frozen=True, tag="vm.restart"):
    """stream: events of the start."""

    name: VmName


class PauseVm(Request[VmView], frozen=True, tag="vm.pause"):
    name: VmName


class ResumeVm(Request[VmView], frozen=True, tag="vm.resume"):
    name: VmName


class CreateSnapshot(Request[SnapshotView], frozen=True, tag="vm.snapshot.create"):
    """Of a running or paused VM, which goes on. Undone when the client goes away."""

    vm: VmName
    name: VmName


class ListSnapshots(Request[list[SnapshotView]], frozen=True, tag="vm.snapshot.list"):
    """The oldest first."""

    vm: VmName


class RestoreSnapshot(Request[VmView], frozen=True, tag="vm.snapshot.restore"):
    """The VM is again what it was then, and runs. stream: events of this.

    ``fault`` is refused unless the daemon was started for tests.
    """

    vm: VmName
    name: VmName
    fault: Fault | None = None


class DeleteSnapshot(Request[None], frozen=True, tag="vm.snapshot.delete"):
    """What VMs that were made from it need of it stays until they are deleted."""

    vm: VmName
    name: VmName


class ForkOutcome(Reply, frozen=True):
    vms: list[VmView]
    paused_ms: float
    """How long the VM stood still."""


class ForkVm(Request[ForkOutcome], frozen=True, tag="vm.fork"):
    """New VMs that go on from where this one is, all or none."""

    name: VmName
    new: Annotated[list[VmName], msgspec.Meta(min_length=1, max_length=64)]


class SetVm(Request[VmView], frozen=True, tag="vm.set"):
    """Change a VM. stream: events of this change.

    ``labels``: None removes one. ``options``: those given, the others stay. The shape is that
    of a stopped VM; its disk can grow and not shrink.
    """

    name: VmName
    vcpus: Vcpus | None = None
    memory_mib: MemoryMib | None = None
    disk_bytes: DiskBytes | None = None
    labels: dict[LabelKey, LabelValue | None] = {}
    options: OptionValues = {}
    lifetime: LifetimeChange = LifetimeChange()


class DeleteVm(Request[None], frozen=True, tag="vm.delete"):
    name: VmName


class WaitCondition(StrEnum):
    """``exec``: a command can be run; ``healthy``: the guest's own init has taken over."""

    RUNNING = "running"
    EXEC = "exec"
    HEALTHY = "healthy"
    SSH = "ssh"
    STOPPED = "stopped"


class WaitVm(Request[VmView], frozen=True, tag="vm.wait"):
    name: VmName
    condition: WaitCondition
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=86400)]


class ReadStats(Request[list[VmStats]], frozen=True, tag="vm.stats"):
    """In the order of ``names``, without those that are not there; no names: all VMs, by name.

    With ``guests`` the guests that run are asked too, and given 2 s.
    """

    names: Annotated[list[VmName], msgspec.Meta(max_length=4096)] = []
    guests: bool = True


class ReadConsole(Request[None], frozen=True, tag="vm.console"):
    """stream: Output. With ``follow`` it runs until cancelled or the VM is gone.

    ``since`` is a Unix time, kept to the second.
    """

    name: VmName
    follow: bool = False
    since: float | None = None


class SshAccess(Reply, frozen=True):
    """``identity`` is the private key, for 0600 files of the caller's only."""

    user: str
    address: str
    host_public_key: str
    identity: bytes


class GetSshAccess(Request[SshAccess], frozen=True, tag="vm.ssh-access"):
    name: VmName


class GuestHealth(Reply, frozen=True):
    hostname: str
    stage: str
    uptime_ms: int
    sessions: int
    ssh: bool
    agent_version: str


class GetHealth(Request[GuestHealth], frozen=True, tag="vm.health"):
    name: VmName


# --- the installation's key ---


class KeyStatus(StrEnum):
    """Of one VM's guest. ``outdated``: it accepts another of our keys, or not this one."""

    CONFIRMED = "confirmed"
    OUTDATED = "outdated"
    NEXT_START = "next-start"
    FAILED = "failed"


class KeyOfVm(Reply, frozen=True):
    """``problem`` is why the guest could not be asked or told."""

    vm: str
    status: KeyStatus
    problem: str = ""


class KeyView(Reply, frozen=True):
    """The SSH key with which banger enters all guests; the private half is at ``path``."""

    public_key: str
    fingerprint: str
    made_at: str
    path: str
    vms: list[KeyOfVm]


class ShowKey(Request[KeyView], frozen=True, tag="key.show"):
    pass


class RotateKey(Request[KeyView], frozen=True, tag="key.rotate"):
    """Make a new key and replace it in all VMs; goes on when the client has gone.

    ``fault`` is refused unless the daemon was started for tests.
    """

    fault: Fault | None = None


# --- what plugins bring ---


class PluginView(Reply, frozen=True):
    """A capability, driver or image builder as ``plugin list`` and ``plugin show`` show it."""

    name: str
    kind: str
    """capability, driver or image builder."""
    distribution: str
    version: str
    summary: str
    enabled: bool
    reason: str
    """Why it is off; "" while it is in use."""
    api_version: int | None = None
    hooks: list[str] = []
    options: list[Option] = []
    settings: list[Setting] = []
    commands: list[str] = []


class ListPlugins(Request[list[PluginView]], frozen=True, tag="plugin.list"):
    pass


class CapabilityOption(Reply, frozen=True):
    """A flag of ``vm create`` and ``vm set``."""

    capability: str
    field: str
    option: Option


class Interface(Reply, frozen=True):
    """What plugins add to the command line."""

    options: list[CapabilityOption]
    commands: list[Syntax]
    settings: list[Setting]
    """With whole keys: ``capabilities.NAME.KEY``."""


class GetInterface(Request[Interface], frozen=True, tag="plugin.interface"):
    pass


class CommandEnded(Reply, frozen=True):
    """``document`` is what ``--json`` prints, as JSON."""

    code: int
    document: bytes


class RunPluginCommand(Request[CommandEnded], frozen=True, tag="plugin.run"):
    """stream: Output, text in UTF-8."""

    path: list[str]
    parameters: dict[str, Any]


class RunDoctor(Request[list[Finding]], frozen=True, tag="doctor.run"):
    """All checks, or with ``leaks`` also what is on the host and belongs to no VM."""

    leaks: bool = False
    fix: bool = False


# --- commands and files in the guest ---


class ExecResult(Reply, frozen=True):
    """``code`` is -1 when ``signal`` ended the command."""

    code: Annotated[int, msgspec.Meta(ge=-1, le=255)]
    signal: Annotated[int, msgspec.Meta(ge=0, le=64)]
    timed_out: bool


class Exec(Request[ExecResult], frozen=True, tag="vm.exec"):
    """stream: Output, ErrorOutput. feed: Input, EndOfInput, Resize, SendSignal."""

    name: VmName
    argv: Annotated[list[str], msgspec.Meta(min_length=1, max_length=4096)]
    env: dict[str, str] = {}
    cwd: str | None = None
    """None: what the VM's image says, else the user's home."""
    user: str = ""
    """"": whom the VM's image says, else root."""
    tty: bool = False
    rows: int = 24
    cols: int = 80
    timeout_s: Annotated[float, msgspec.Meta(ge=0, le=86400 * 365)] = 0
    """0: none."""


class Output(Reply, frozen=True, tag="out"):
    data: bytes


class ErrorOutput(Reply, frozen=True, tag="err"):
    data: bytes


class Input(Reply, frozen=True, tag="in"):
    data: bytes


class EndOfInput(Reply, frozen=True, tag="eof"):
    pass


class Resize(Reply, frozen=True, tag="resize"):
    rows: Annotated[int, msgspec.Meta(ge=1, le=65535)]
    cols: Annotated[int, msgspec.Meta(ge=1, le=65535)]


class SendSignal(Reply, frozen=True, tag="signal"):
    number: Annotated[int, msgspec.Meta(ge=1, le=64)]


class RunVm(Request[ExecResult], frozen=True, tag="vm.run"):
    """Create a VM, run a command in it, delete it. However the call ends, the VM is gone.

    ``vm`` and ``command`` have the same name. stream: events of the creation, then as of `Exec`;
    feed: as of `Exec`, kept until the command runs.
    """

    vm: CreateVm
    command: Exec


class FileInfo(Reply, frozen=True):
    """``kind`` is file, directory, symlink or other; ``mode`` the permission bits."""

    kind: str
    mode: int
    size: int


class ReadFile(Request[FileInfo], frozen=True, tag="file.read"):
    """stream: Output."""

    name: VmName
    path: GuestPath


class WriteFile(Request[None], frozen=True, tag="file.write"):
    """feed: Input, exactly ``size`` bytes in all."""

    name: VmName
    path: GuestPath
    size: Annotated[int, msgspec.Meta(ge=0)]
    mode: Mode = 0o644
    user: str = "root"


class DirectoryEntry(Reply, frozen=True):
    name: str
    info: FileInfo


class Listing(Reply, frozen=True):
    """A part of a directory's listing; in whole it may be larger than a frame."""

    entries: list[DirectoryEntry]


class ListDirectory(Request[None], frozen=True, tag="file.list"):
    """stream: Listing."""

    name: VmName
    path: GuestPath


class MakeDirectory(Request[None], frozen=True, tag="file.mkdir"):
    name: VmName
    path: GuestPath
    mode: Mode = 0o755
    user: str = "root"


# --- images ---


class ListImages(Request[list[ImageView]], frozen=True, tag="image.list"):
    pass


class ShowImage(Request[ImageView], frozen=True, tag="image.show"):
    name: ImageName


class BuildImage(Request[BuildOutcome], frozen=True, tag="image.build"):
    """stream: BuildProgress. Nothing is built when the inputs are unchanged, unless ``force``.

    Scripts and a recipe's file are for root and the daemon's own user.
    """

    name: ImageName
    recipe: ImageName
    force: bool = False
    options: BuildOptions = BuildOptions()


class CancelBuild(Request[None], frozen=True, tag="image.cancel"):
    name: ImageName


class ReadBuildLog(Request[None], frozen=True, tag="image.log"):
    """Of the running or the last build; ``failed``: of the last that failed. stream: Output."""

    name: ImageName
    failed: bool = False


class RegisterImage(Request[RegisterOutcome], frozen=True, tag="image.register"):
    """Paths of the daemon's host, absolute. For root and the daemon's own user."""

    name: ImageName
    rootfs: HostPath
    kernel: HostPath | None = None
    modules: HostPath | None = None
    work_seed: HostPath | None = None


class ImportImage(Request[BuildOutcome], frozen=True, tag="image.import"):
    """A path of the daemon's host, absolute. For root and the daemon's own user.

    stream: BuildProgress. ``reference``: which image, of several; "" for the only one.
    """

    name: ImageName
    format: ImportFormat
    path: HostPath
    max_bytes: DiskBytes
    size_bytes: DiskBytes | None = None
    reference: Annotated[str, msgspec.Meta(max_length=1000)] = ""
    init: ImageInit | None = None
    force: bool = False


class DeleteImage(Request[None], frozen=True, tag="image.delete"):
    name: ImageName


class RenameImage(Request[ImageView], frozen=True, tag="image.rename"):
    name: ImageName
    new: ImageName


class ChooseDefaultImage(Request[DefaultImage], frozen=True, tag="image.default"):
    """None only tells which it is; ``clear`` goes back to the setting."""

    name: ImageName | None = None
    clear: bool = False


class WarmImage(Request[SeedView], frozen=True, tag="image.warm"):
    """stream: SeedProgress. One that is there is not made anew."""

    name: ImageName
    vcpus: Vcpus | None = None
    memory_mib: MemoryMib | None = None


class MeasureFloor(Request[SeedFloor], frozen=True, tag="image.floor"):
    """How fast VMs of the usual shape could begin. Its seed is made when there is none."""

    name: ImageName


class PruneImages(Request[Pruned], frozen=True, tag="image.prune"):
    dry_run: bool = False


class ExportSize(Reply, frozen=True, tag="size"):
    """Comes first; what follows is a little more, for the archive's headers."""

    bytes: int


class ExportImage(Request[ImageView], frozen=True, tag="image.export"):
    """A tar archive. stream: ExportSize, Output."""

    name: ImageName


AnyRequest = (
    GetStatus
    | StopDaemon
    | ReadEvents
    | CreateVm
    | ListVms
    | ShowVm
    | StartVm
    | StopVm
    | RestartVm
    | PauseVm
    | ResumeVm
    | CreateSnapshot
    | ListSnapshots
    | RestoreSnapshot
    | DeleteSnapshot
    | ForkVm
    | SetVm
    | DeleteVm
    | WaitVm
    | ReadStats
    | ReadConsole
    | GetSshAccess
    | GetHealth
    | ShowKey
    | RotateKey
    | ListPlugins
    | GetInterface
    | RunPluginCommand
    | RunDoctor
    | Exec
    | RunVm
    | ReadFile
    | WriteFile
    | ListDirectory
    | MakeDirectory
    | ListImages
    | ShowImage
    | BuildImage
    | CancelBuild
    | ReadBuildLog
    | RegisterImage
    | ImportImage
    | DeleteImage
    | RenameImage
    | ChooseDefaultImage
    | WarmImage
    | MeasureFloor
    | PruneImages
    | ExportImage
)
AnyFeed = Input | EndOfInput | Resize | SendSignal
AnyOutput = Output | ErrorOutput
AnyExport = ExportSize | Output
