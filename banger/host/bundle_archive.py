"""Runtime bundles as tar archives: packed, and unpacked with distrust.

Only plain files that the archive's own ``bundle.json`` names are taken out, each once, with
the size and the sum it says; anything else refuses the whole archive. Everything blocks.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import os
import tarfile
import tempfile
import tomllib
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Annotated, cast
from urllib.parse import urlsplit

import msgspec

from banger.host import sparse_tar
from banger.host.bundle import (
    ABOUT,
    ABOUT_LIMIT_BYTES,
    FILE_LIMIT_BYTES,
    Bundle,
    BundledFile,
    check,
    decode_about,
    finish,
    replacing,
    write_sparse,
)
from banger.kernel.errors import HostNotReady, UsageError

ARCHIVE_LIMIT_BYTES = 16 << 30
DATA_LIMIT_BYTES = 16 << 30
"""What is not zero, of all files of an archive."""
READ_LIMIT_BYTES = 4 << 20
"""The largest piece that tarfile may ask for: it reads headers of any size they claim."""
MEMBERS_MAX = 32
FETCH_DEADLINE_S = 60.0
"""For one answer of the server, not for all of the archive."""

_CHUNK_BYTES = 1 << 20
_MANIFEST_LIMIT_BYTES = 64 << 10
_NOT_TAR = (tarfile.TarError, EOFError, lzma.LZMAError, gzip.BadGzipFile, ValueError, OverflowError)


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a ready bundle is: the manifest's content. Either ``url`` or ``path``."""

    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    url: str = ""
    path: str = ""


def read_manifest(path: Path) -> Source:
    """Raises `UsageError`. A relative ``path`` in it counts from the manifest's directory."""
    try:
        with path.open("rb") as file:
            data = file.read(_MANIFEST_LIMIT_BYTES)
        source = msgspec.convert(tomllib.loads(data.decode()), Source)
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} can't be read: {error}") from None
    if bool(source.url) == bool(source.path):
        raise UsageError(f"{path}: give either url or path")
    if source.url and urlsplit(source.url).scheme not in ("https", "http"):
        raise UsageError(f"{path}: {source.url!r} is no http or https URL")
    if source.path:
        return msgspec.structs.replace(source, path=str(path.parent / source.path))
    return source


def install(manifest: Path, directory: Path) -> Bundle:
    """Make the directory the bundle that the manifest names, whole or not at all.

    Raises `UsageError` for an archive that is not what it should be, `HostNotReady` when it
    can't be had.
    """
    source = read_manifest(manifest)
    with _archive(source, directory.parent) as file:
        found = _sum(file, source.path or source.url)
        if found != source.sha256:
            raise UsageError(
                f"{source.path or source.url} has the SHA-256 sum {found}, not {source.sha256}"
            )
        with replacing(directory) as fresh:
            bundle = unpack(file, fresh)
    return bundle


def pack(directory: Path, bundle: Bundle, archive: Path) -> str:
    """Write the bundle as an archive, without holes; the archive's SHA-256 sum."""
    digest = hashlib.sha256()
    with ExitStack() as stack:
        members = [sparse_tar.Member(ABOUT, (directory / ABOUT).read_bytes(), 0)]
        for file in bundle.files:
            opened = stack.enter_context((directory / file.path).open("rb"))
            members.append(sparse_tar.Member(file.path, opened.fileno(), 0))
        partial = archive.with_name(f".{archive.name}.tmp")
        with partial.open("wb") as out:
            for piece in sparse_tar.archive(members):
                digest.update(piece)
                out.write(piece)
    partial.replace(archive)
    return digest.hexdigest()


def unpack(archive: IO[bytes], directory: Path) -> Bundle:
    """Take the bundle out of a tar archive, plain or compressed by gzip or xz.

    Raises `UsageError`; what is in the directory then is of no use.
    """
    with _plain(archive) as plain:
        try:
            with tarfile.open(fileobj=plain, mode="r:") as tar:
                return _unpack(tar, directory)
        except _NOT_TAR as error:
            raise UsageError(f"the archive can't be read: {error}") from None


def _unpack(tar: tarfile.TarFile, directory: Path) -> Bundle:
    members: dict[str, tarfile.TarInfo] = {}
    for member in tar:
        name = member.name.removeprefix("./")
        if member.isdir() and name in ("", "."):
            continue
        _refuse_unless_plain(member)
        if name in members:
            raise UsageError(f"the archive has {name!r} twice")
        if len(members) >= MEMBERS_MAX:
            raise UsageError(f"the archive has more than {MEMBERS_MAX} files")
        members[name] = member
    about = members.pop(ABOUT, None)
    if about is None:
        raise UsageError(f"the archive has no {ABOUT}")
    if about.size > ABOUT_LIMIT_BYTES:
        raise UsageError(f"the archive's {ABOUT} is larger than {ABOUT_LIMIT_BYTES} bytes")
    bundle = decode_about(_open(tar, about).read(), f"the archive's {ABOUT}")
    unknown = members.keys() - {file.path for file in bundle.files}
    if unknown:
        raise UsageError(f"the archive has {min(unknown)!r}, which its {ABOUT} does not name")
    room = DATA_LIMIT_BYTES
    for file in bundle.files:
        found = members.get(file.path)
        if found is None or found.size != file.size:
            size = "missing" if found is None else f"of {found.size} bytes, not {file.size}"
            raise UsageError(f"the archive's {file.path} is {size}")
        room -= _take(_open(tar, found), file, directory / file.path, room)
    finish(directory, bundle)
    return bundle


def _refuse_unless_plain(member: tarfile.TarInfo) -> None:
    name = member.name.removeprefix("./")
    if not member.isreg():
        raise UsageError(f"the archive's {name!r} is no plain file")
    if not name or "/" in name or name in (".", ".."):
        raise UsageError(f"the archive's {name!r} is not at its top")
    if not 0 <= member.size <= FILE_LIMIT_BYTES:
        raise UsageError(f"the archive's {name!r} has {member.size} bytes")


def _open(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    opened = tar.extractfile(member)
    assert opened is not None  # it is a plain file
    return opened


def _take(content: IO[bytes], file: BundledFile, target: Path, room: int) -> int:
    """Write one file; how many bytes of the disk's room that took."""
    digest, written, at = hashlib.sha256(), 0, 0
    with target.open("xb") as out:
        while data := content.read(_CHUNK_BYTES):
            digest.update(data)
            written += write_sparse(out.fileno(), data, at)
            at += len(data)
            if written > room:
                raise UsageError(f"the archive has more than {DATA_LIMIT_BYTES} bytes of data")
        out.truncate(file.size)
        os.fsync(out.fileno())
    check(file, digest.hexdigest(), "the archive")
    return written


class _Guarded(io.RawIOBase):
    """A file of which nobody reads a large piece at once."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= READ_LIMIT_BYTES:
            raise UsageError("the archive has a header that is too large")
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


@contextmanager
def _plain(archive: IO[bytes]) -> Iterator[_Guarded]:
    """The archive, decompressed."""
    archive.seek(0)
    magic = archive.read(6)
    archive.seek(0)
    with ExitStack() as stack:
        file: IO[bytes] = archive
        if magic.startswith(b"\x1f\x8b"):
            file = cast(IO[bytes], stack.enter_context(gzip.open(archive)))
        elif magic == b"\xfd7zXZ\0":
            file = stack.enter_context(lzma.open(archive))
        yield _Guarded(file)


@contextmanager
def _archive(source: Source, scratch: Path) -> Iterator[IO[bytes]]:
    """The archive, open; a fetched one is a file without name in ``scratch``."""
    if source.path:
        with ExitStack() as stack:
            try:
                local = stack.enter_context(Path(source.path).open("rb"))
            except OSError as error:
                raise HostNotReady(f"{source.path} can't be read: {error.strerror}") from None
            yield local
        return
    with tempfile.TemporaryFile(dir=scratch) as file:
        try:
            with urllib.request.urlopen(source.url, timeout=FETCH_DEADLINE_S) as answer:  # noqa: S310 - http and https only
                while data := answer.read(_CHUNK_BYTES):
                    file.write(data)
                    if file.tell() > ARCHIVE_LIMIT_BYTES:
                        raise UsageError(f"{source.url} has more than {ARCHIVE_LIMIT_BYTES} bytes")
        except OSError as error:
            raise HostNotReady(f"{source.url} can't be fetched: {error}") from None
        yield file


def _sum(file: IO[bytes], origin: str) -> str:
    file.seek(0)
    digest = hashlib.sha256()
    while data := file.read(_CHUNK_BYTES):
        digest.update(data)
        if file.tell() > ARCHIVE_LIMIT_BYTES:
            raise UsageError(f"{origin} has more than {ARCHIVE_LIMIT_BYTES} bytes")
    return digest.hexdigest()
