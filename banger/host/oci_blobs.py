"""Where the files of an OCI image are: a layout directory, or an archive that stays packed."""

from __future__ import annotations

import os
import posixpath
import re
import stat
import tarfile
import tempfile
from pathlib import Path
from typing import IO, Protocol

from banger.host.archive import CHUNK_BYTES, Budget, Member, compression, open_file, uncompressed
from banger.kernel.errors import UsageError

ARCHIVE_MEMBERS_MAX = 10_000
DOCUMENT_BYTES_MAX = 4 << 20

_name = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*", re.ASCII)


class Blobs(Protocol):
    def open(self, name: str) -> IO[bytes] | None:
        """A seekable stream; None when there is no such file. Raises `UsageError`."""
        ...

    def close(self) -> None: ...


def read_document(blobs: Blobs, name: str) -> bytes | None:
    """A small file as a whole."""
    stream = blobs.open(name)
    if stream is None:
        return None
    with stream:
        data = stream.read(DOCUMENT_BYTES_MAX + 1)
    if len(data) > DOCUMENT_BYTES_MAX:
        raise UsageError(f"{name} is larger than {DOCUMENT_BYTES_MAX >> 20} MiB")
    return data


class DirectoryBlobs:
    """No link in it is followed."""

    def __init__(self, directory: Path) -> None:
        try:
            self._top = os.open(
                directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            )
        except OSError as error:
            raise UsageError(f"{directory} can't be read: {error.strerror}") from None

    def open(self, name: str) -> IO[bytes] | None:
        check_name(name)
        *above, last = name.split("/")
        directory = os.dup(self._top)
        try:
            for part in above:
                flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
                inner = os.open(part, flags, dir_fd=directory)
                os.close(directory)
                directory = inner
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            file = os.open(last, flags, dir_fd=directory)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UsageError(f"{name!r} can't be read: {error.strerror}") from None
        finally:
            os.close(directory)
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise UsageError(f"{name!r} is no regular file")
        return os.fdopen(file, "rb")

    def close(self) -> None:
        os.close(self._top)


class ArchiveBlobs:
    """The members of a tar archive by name, read where they are."""

    def __init__(self, path: Path, budget: Budget) -> None:
        """Raises `UsageError`. A compressed archive is unpacked into a temporary file."""
        self._stored = open_file(path)
        try:
            if compression(self._stored):
                self._unpack(budget)
            self._archive = tarfile.open(fileobj=self._stored, mode="r:", tarinfo=Member)  # noqa: SIM115
            self._members = _files(self._archive)
        except BaseException:
            self._stored.close()
            raise

    def _unpack(self, budget: Budget) -> None:
        with self._stored as packed, uncompressed(packed) as stream:
            self._stored = tempfile.TemporaryFile()  # noqa: SIM115 - it stays open
            while chunk := stream.read(CHUNK_BYTES):
                budget.take_bytes(len(chunk))
                self._stored.write(chunk)
        self._stored.seek(0)

    def open(self, name: str) -> IO[bytes] | None:
        check_name(name)
        member = self._members.get(name)
        if member is not None and not member.isreg():
            # Archives of 'docker save' before its version 25 name equal layers by links.
            above = posixpath.dirname(name) if member.issym() else ""
            name = posixpath.normpath(posixpath.join(above, member.linkname))
            member = self._members.get(name)
            if member is None or not member.isreg():
                raise UsageError(f"the link {name!r} is to no file of the archive")
        if member is None:
            return None
        return self._archive.extractfile(member)

    def close(self) -> None:
        self._archive.close()
        self._stored.close()


def _files(archive: tarfile.TarFile) -> dict[str, tarfile.TarInfo]:
    """By name; links are among them."""
    found: dict[str, tarfile.TarInfo] = {}
    for member in archive:
        name = posixpath.normpath(member.name)
        if member.isdir():
            continue
        if not member.isreg() and not member.issym() and not member.islnk():
            raise UsageError(f"{member.name!r} is neither a file nor a link")
        if name in found:
            raise UsageError(f"{member.name!r} is there twice")
        if len(found) >= ARCHIVE_MEMBERS_MAX:
            raise UsageError(f"it has more than {ARCHIVE_MEMBERS_MAX} members")
        found[name] = member
    return found


def check_name(name: str) -> None:
    if not _name.fullmatch(name) or len(name) > 1000:
        raise UsageError(f"{name[:80]!r} is no name of a file in an image")
