"""An image: what VMs are made from."""

from __future__ import annotations

import msgspec

from banger.model.names import ImageName


class ImageRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is kept of a built image.

    Several builds of one name may exist while VMs still use the older ones; the newest is
    the image of that name. ``id`` is the name of its directory.
    """

    id: str
    name: ImageName
    recipe: str
    built_at: float
    """Unix seconds."""
    root_bytes: int
    """Size of the root file system as a guest sees it."""
    kernel_version: str
    distribution: str


class ImageView(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An image as ``image list`` and ``image show`` show it."""

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
