"""What the daemon is asked about images."""

from __future__ import annotations

from typing import Annotated

import msgspec

from banger.kernel.message import Request
from banger.model.build import BuildOptions
from banger.model.image import (
    BuildOutcome,
    DefaultImage,
    ImageInit,
    ImageView,
    ImportFormat,
    Pruned,
    RegisterOutcome,
)
from banger.model.names import ImageName
from banger.model.requests.exec import Output
from banger.model.requests.reply import Reply
from banger.model.vm import DiskBytes

HostPath = Annotated[str, msgspec.Meta(pattern="^/[^\0]*$", max_length=4096)]


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


class PruneImages(Request[Pruned], frozen=True, tag="image.prune"):
    dry_run: bool = False


class ExportSize(Reply, frozen=True, tag="size"):
    """Comes first; what follows is a little more, for the archive's headers."""

    bytes: int


class ExportImage(Request[ImageView], frozen=True, tag="image.export"):
    """A tar archive. stream: ExportSize, Output."""

    name: ImageName


AnyExport = ExportSize | Output
