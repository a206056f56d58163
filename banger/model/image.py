"""An image: what VMs are made from."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from banger.model.names import ImageName
from banger.model.seed import PrunedSeed, SeedView


class HostFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of somebody else's, as it was when it was looked at."""

    path: str
    size: int
    mtime_ns: int


class Registration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file of an image that banger did not make. It is only ever read."""

    root: HostFile


class ImportFormat(StrEnum):
    OCI = "oci"
    """A layout directory, or an archive of 'docker save' or 'podman save'."""
    TAR = "tar"
    """A root file system."""


class ImageInit(StrEnum):
    """What the guest's first process is, once the disk is mounted."""

    IMAGE = "image"
    AGENT = "agent"
    """The guest agent, which reaps orphans: nothing else is started."""


class ImageProcess(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a container of an image would run, and how. "" and [] are nothing said."""

    argv: list[str] = []
    """Entrypoint and command."""
    environment: dict[str, str] = {}
    user: str = ""
    """Name or number."""
    workdir: str = ""


class ImportSource(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: ImportFormat
    path: str
    digest: str
    """Of the tarball, or the image's id: the digest of its configuration."""


class ImageRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is kept of an image.

    Several builds of one name may exist while VMs still use the older ones; the newest is
    the image of that name. ``id`` is the name of its directory.
    """

    id: str
    name: ImageName
    recipe: str
    """"" for a registered one."""
    built_at: float
    """Unix seconds; when it was registered, for one that was not built."""
    root_bytes: int
    """Size of the root file system as a guest sees it."""
    kernel_version: str
    distribution: str
    key: str = ""
    """Tells the inputs of its build; "" when they are not known."""
    registered: Registration | None = None
    imported: ImportSource | None = None
    init: ImageInit = ImageInit.IMAGE
    process: ImageProcess | None = None
    """None for an image that is not an OCI one."""


def _with_key(record: dict[str, Any]) -> dict[str, Any]:
    """A build of the first version is of inputs that nobody noted."""
    return {**record, "key": "", "registered": None}


def _with_import(record: dict[str, Any]) -> dict[str, Any]:
    """An image of the second version was built or registered, and has an init."""
    return {**record, "imported": None, "init": ImageInit.IMAGE, "process": None}


RECORD_VERSION = 3
RECORD_MIGRATIONS = {1: _with_key, 2: _with_import}


class ImageState(StrEnum):
    READY = "ready"
    BUILDING = "building"
    """There is no finished build of this name yet."""
    UNUSABLE = "unusable"
    """Files are gone or have changed; ``problem`` says which."""


class RunningBuild(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A build under way. ``written_bytes`` is what its files take so far."""

    recipe: str
    since: str
    """UTC, RFC 3339."""
    elapsed_s: float
    step: str
    written_bytes: int


class ImageView(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An image as ``image list`` and ``image show`` show it.

    While the first build of a name runs, what its end will tell is "" or 0.
    """

    name: str
    id: str
    recipe: str
    distribution: str
    kernel_version: str
    built_at: str
    """UTC, RFC 3339."""
    disk_bytes: int
    allocated_bytes: int
    """What all its files take on the host."""
    vms: list[str]
    path: str
    state: ImageState = ImageState.READY
    problem: str = ""
    default: bool = False
    """It is what a VM is made from when nothing else is said."""
    managed: bool = True
    """Its files are banger's; False: it was registered."""
    source: str = ""
    """The recipe, or the file that was registered or imported."""
    key: str = ""
    work_seed: bool = False
    building: RunningBuild | None = None
    imported: ImportSource | None = None
    init: ImageInit = ImageInit.IMAGE
    process: ImageProcess | None = None
    seeds: list[SeedView] = []
    """Its warm seeds; only ``image show`` tells them."""


class BuildOutcome(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``built`` is False when the newest build is of the same inputs already."""

    image: ImageView
    built: bool


class RegisterOutcome(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``new`` is False when the same files were registered already."""

    image: ImageView
    new: bool
    kernel_from: str
    """The image whose kernel and modules it got; "" when it has its own."""


class DefaultImage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``origin`` is ``command`` or ``setting``; ``exists`` tells whether there is such an image."""

    name: str
    origin: str
    exists: bool


class PrunedImage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    id: str
    bytes: int


class Pruned(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``removed`` would be removed, when ``dry_run``."""

    removed: list[PrunedImage]
    bytes: int
    dry_run: bool
    seeds: list[PrunedSeed] = []
