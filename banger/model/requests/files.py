"""Files in guests."""

from __future__ import annotations

from typing import Annotated

import msgspec

from banger.kernel.message import Request
from banger.model.names import VmName
from banger.model.requests.reply import Reply

GuestPath = Annotated[str, msgspec.Meta(pattern="^/[^\0]*$", max_length=4096)]


Mode = Annotated[int, msgspec.Meta(ge=0, le=0o7777)]


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
