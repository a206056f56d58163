"""``vm cp``: files and directories between this host and a guest.

What a guest says of its files is not trusted: names were checked by the daemon, nothing is
written outside of the destination, links and special files are left out and reported,
set-user-ID bits are dropped on this side.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import msgspec

from banger.client.connection import Connection
from banger.kernel import wire
from banger.kernel.errors import BangerError, NotFound, UsageError
from banger.model.names import check_name
from banger.model.requests.exec import AnyOutput, Input, Output
from banger.model.requests.files import (
    DirectoryEntry,
    FileInfo,
    ListDirectory,
    Listing,
    MakeDirectory,
    ReadFile,
    WriteFile,
)

CHUNK_BYTES = 64 << 10
DEPTH_LIMIT = 64


class GuestPlace(msgspec.Struct, frozen=True):
    """``NAME:/path``. ``into`` tells that it was written with a slash at its end."""

    vm: str
    path: PurePosixPath
    into: bool


class Report(msgspec.Struct):
    """What was done; ``skipped`` are links and special files."""

    files: int = 0
    directories: int = 0
    bytes: int = 0
    skipped: list[str] = []


def parse_place(text: str) -> GuestPlace | Path:
    """``NAME:/path`` is in a guest; anything else, and all with a slash before a colon, here."""
    if not text:
        raise UsageError("the name of a file is empty")
    name, colon, path = text.partition(":")
    if not colon or "/" in name:
        return Path(text)
    check_name("VM", name)
    if not path.startswith("/"):
        raise UsageError(
            f"the path in {text!r} is not absolute", hint=f"write it like {name}:/root/{path}"
        )
    return GuestPlace(name, PurePosixPath(path), path.endswith("/"))


class Transfer:
    def __init__(self, connection: Connection, user: str) -> None:
        """``user`` owns in the guest what is copied into it."""
        self._connection = connection
        self._user = user
        self.report = Report()

    def upload(self, source: Path, target: GuestPlace) -> None:
        if not source.exists():
            raise NotFound(f"there is no file {str(source)!r} on this host")
        path = target.path
        if target.into or self._is_directory(target.vm, path):
            path /= source.resolve().name
        self._upload(source, target.vm, path)

    def download(self, source: GuestPlace, target: Path) -> None:
        if target.is_dir():
            target /= source.path.name
        if self._is_directory(source.vm, source.path):
            self._download_directory(source.vm, source.path, target, depth=0)
        else:
            self._download_file(source.vm, source.path, target)

    def _is_directory(self, vm: str, path: PurePosixPath) -> bool:
        try:
            self._list(vm, path)
        except (NotFound, UsageError) as error:
            if isinstance(error, NotFound) and f"VM {vm!r}" in error.message:
                raise
            return False
        return True

    def _list(self, vm: str, path: PurePosixPath) -> list[DirectoryEntry]:
        entries: list[DirectoryEntry] = []
        self._connection.call(
            ListDirectory(vm, str(path)),
            items=Listing,
            on_item=lambda part: entries.extend(part.entries),
        )
        return entries

    # --- to the guest ---

    def _upload(self, source: Path, vm: str, path: PurePosixPath) -> None:
        if source.is_dir():
            mode = source.stat().st_mode & 0o7777
            self._connection.call(MakeDirectory(vm, str(path), mode, self._user))
            self.report.directories += 1
            for child in sorted(source.iterdir()):
                if child.is_symlink() or not (child.is_dir() or child.is_file()):
                    self.report.skipped.append(str(child))
                else:
                    self._upload(child, vm, path / child.name)
        elif source.is_file():
            with source.open("rb") as file:
                self._upload_file(file, vm, path)
        else:
            raise UsageError(f"{str(source)!r} is neither a file nor a directory")

    def _upload_file(self, file: BinaryIO, vm: str, path: PurePosixPath) -> None:
        status = os.fstat(file.fileno())
        request = WriteFile(vm, str(path), status.st_size, status.st_mode & 0o7777, self._user)
        call_id = self._connection.begin(request)
        window, missing = wire.FEED_WINDOW_BYTES, status.st_size
        while True:
            while missing and window > 2 * CHUNK_BYTES:
                data = file.read(min(CHUNK_BYTES, missing))
                if not data:
                    raise BangerError(f"{file.name!r} became shorter while it was copied")
                missing -= len(data)
                window -= self._connection.feed(call_id, Input(data))
            match self._connection.receive():
                case wire.Credit(_, count):
                    window += count
                case wire.Failed(_, error):
                    raise error.to_error()
                case wire.Done():
                    self.report.files += 1
                    self.report.bytes += status.st_size
                    return

    # --- from the guest ---

    def _download_directory(
        self, vm: str, path: PurePosixPath, target: Path, *, depth: int
    ) -> None:
        if depth > DEPTH_LIMIT:
            raise BangerError(f"{vm}:{path} lies deeper than {DEPTH_LIMIT} directories")
        entries = self._list(vm, path)
        target.mkdir(exist_ok=True)
        self.report.directories += 1
        for entry in entries:
            below = path / entry.name
            if entry.info.kind == "directory":
                self._download_directory(vm, below, target / entry.name, depth=depth + 1)
            elif entry.info.kind == "file":
                self._download_file(vm, below, target / entry.name)
            else:
                self.report.skipped.append(f"{vm}:{below}")

    def _download_file(self, vm: str, path: PurePosixPath, target: Path) -> None:
        if not target.parent.is_dir():
            raise NotFound(f"there is no directory {str(target.parent)!r} on this host")
        if target.exists() and not target.is_file():
            # The copy takes the place of what it is renamed to: of a device file, too.
            raise UsageError(
                f"{str(target)!r} is there already and is no regular file",
                hint="choose another name",
            )
        fd, temporary = tempfile.mkstemp(prefix=".banger-", dir=target.parent)
        with os.fdopen(fd, "wb") as file:
            try:

                def take(item: Output) -> None:
                    self.report.bytes += file.write(item.data)

                request = ReadFile(vm, str(path))
                info = self._connection.call(request, items=AnyOutput, on_item=take)
                _check_size(info, file.tell(), f"{vm}:{path}")
                os.fchmod(file.fileno(), info.mode & 0o777)
                Path(temporary).replace(target)
            except BaseException:
                Path(temporary).unlink()
                raise
        self.report.files += 1


def _check_size(info: FileInfo, received: int, what: str) -> None:
    if info.size != received:
        raise BangerError(f"{what} has {info.size} bytes, but {received} came")
