"""What a build is asked for besides its recipe."""

from __future__ import annotations

from typing import Annotated

import msgspec

from banger.model.names import ImageName, VmName

SCRIPT_BYTES_MAX = 960 << 10
"""Of all scripts of a build: they travel in one frame."""
PACKAGE_PATTERN = r"^[a-z0-9][a-z0-9+.-]{1,99}\Z"

SCRIPT_NAME_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}\Z"
SIZE_BYTES_MIN = 1 << 30
SIZE_BYTES_MAX = 1 << 44

PackageName = Annotated[str, msgspec.Meta(pattern=PACKAGE_PATTERN)]
ScriptName = Annotated[str, msgspec.Meta(pattern=SCRIPT_NAME_PATTERN)]


class BuildScript(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Run as root in the tree when all else is there."""

    name: ScriptName
    content: Annotated[bytes, msgspec.Meta(max_length=SCRIPT_BYTES_MAX)]


class BuildOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How an image departs from its recipe; the defaults are the recipe as it is."""

    size_bytes: Annotated[int, msgspec.Meta(ge=SIZE_BYTES_MIN, le=SIZE_BYTES_MAX)] | None = None
    packages: Annotated[list[PackageName], msgspec.Meta(max_length=1000)] = []
    scripts: Annotated[list[BuildScript], msgspec.Meta(max_length=50)] = []
    profile: ImageName | None = None
    recipe_file: Annotated[str, msgspec.Meta(pattern="^/[^\0]*$", max_length=4096)] | None = None
    """On the daemon's host; instead of a recipe by name."""
    rootfs_tarball: Annotated[str, msgspec.Meta(pattern="^/[^\0]*$", max_length=4096)] | None = None
    """On the daemon's host; what the recipe starts from, if it takes one."""
    base: ImageName | None = None
    """An image of the store to build on; where there is none, a recipe's name."""
    vm: VmName | None = None
    """A stopped VM whose disks become the image, as they are; no other option goes with it."""
