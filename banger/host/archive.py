"""Reading a tar archive of a stranger as a stream: its compression, its digests, its limits."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import os
import shutil
import stat
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, cast

import msgspec

from banger.kernel.errors import HostNotReady, NotFound, UsageError
from banger.model.sizes import GIB, show_size

CHUNK_BYTES = 1 << 18
MEMBERS_MAX = 500_000
OVERHEAD_BYTES = GIB
"""What headers and padding of an archive may take beside its files."""
PADDING_BYTES = 1 << 20
"""More than archivers put behind the end."""
EXTENSION_BYTES_MAX = 1 << 20
"""Of one header of a kind that has a name or attributes, which is read into memory."""
DAMAGED = (tarfile.TarError, EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile)

_EXTENSIONS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_MAGICS = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\xfd7zXZ\x00", "xz"),
)


class Source(msgspec.Struct, frozen=True):
    """An archive that can be opened again and again."""

    label: str
    open: Callable[[], IO[bytes]]
    """A seekable stream of the bytes as they are stored."""
    digest: str = ""
    """``sha256:HEX`` of the stored bytes; "" when nobody stated it."""
    content_digest: str = ""
    """Of the bytes uncompressed."""


class Budget:
    """How much all archives together may come to, uncompressed."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.files_left = limit
        self.bytes_left = limit + OVERHEAD_BYTES
        self.members_left = MEMBERS_MAX

    def take_file(self, size: int) -> None:
        self.files_left -= size
        if size < 0 or self.files_left < 0:
            self.refuse()

    def take_bytes(self, count: int) -> None:
        self.bytes_left -= count
        if self.bytes_left < 0:
            self.refuse()

    def take_member(self) -> None:
        self.members_left -= 1
        if self.members_left < 0:
            raise UsageError(f"it has more than {MEMBERS_MAX} members")

    def refuse(self) -> None:
        raise UsageError(
            f"unpacked it is larger than {show_size(self.limit)}",
            hint="--max-size allows more",
        )


class Member(tarfile.TarInfo):
    """Damage that tarfile takes for the end is an error, and what it reads whole is small."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Member:
        found = super().frombuf(buf, encoding, errors)
        if found.type in _EXTENSIONS and not 0 <= found.size <= EXTENSION_BYTES_MAX:
            raise UsageError(f"a header of {found.size} bytes")
        return found

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Member:
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise UsageError(f"it is no tar archive, damaged or cut off: {error}") from None
        except RecursionError:
            raise UsageError("its headers are nested too deep") from None


class _Counted:
    """Reads on, counting and hashing."""

    def __init__(self, stream: IO[bytes], budget: Budget) -> None:
        self._stream = stream
        self._budget = budget
        self.hash = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._budget.take_bytes(len(data))
        self.hash.update(data)
        return data


def open_file(path: Path) -> IO[bytes]:
    """Raises `NotFound`, `UsageError` for what is no regular file, or is a link."""
    try:
        # No link is followed, and a FIFO does not block.
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise NotFound(f"there is no file {str(path)!r} on the daemon's host") from None
    except OSError as error:
        reason = "it is a link" if path.is_symlink() else error.strerror
        raise UsageError(f"{path} can't be used: {reason}", hint="name the file itself") from None
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise UsageError(f"{path} is no regular file")
    return os.fdopen(file, "rb")


def compression(stored: IO[bytes]) -> str:
    """ "" for none."""
    stored.seek(0)
    start = stored.read(8)
    stored.seek(0)
    return next((name for magic, name in _MAGICS if start.startswith(magic)), "")


def digest_of(stored: IO[bytes]) -> str:
    stored.seek(0)
    value = f"sha256:{hashlib.file_digest(stored, 'sha256').hexdigest()}"  # type: ignore[arg-type]
    stored.seek(0)
    return value


@contextmanager
def uncompressed(stored: IO[bytes]) -> Iterator[IO[bytes]]:
    """Raises `UsageError` when the block is left with data that was damaged."""
    name = compression(stored)
    if name == "gzip":
        with gzip.GzipFile(fileobj=stored) as inflated:
            yield cast(IO[bytes], inflated)
    elif name == "xz":
        with lzma.LZMAFile(stored) as stream:
            yield stream
    elif name == "zstd":
        yield from _zstd(stored)
    else:
        yield stored


def _zstd(stored: IO[bytes]) -> Iterator[IO[bytes]]:
    with ExitStack() as stack:
        # A part of a larger file has no descriptor of its own that could be handed over.
        whole = stack.enter_context(tempfile.TemporaryFile())
        shutil.copyfileobj(stored, whole, CHUNK_BYTES)
        whole.seek(0)
        try:
            # Its default limits the memory to 128 MiB.
            program = subprocess.Popen(
                ["zstd", "-dcq"], stdin=whole, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        except FileNotFoundError:
            raise HostNotReady("zstd is not installed", hint="apt-get install zstd") from None
        assert program.stdout is not None
        try:
            yield program.stdout
            if program.stdout.read(1) or program.wait() != 0:
                raise UsageError("its zstd data is damaged")
        finally:
            program.kill()
            program.wait()
            program.stdout.close()


@contextmanager
def members(source: Source, budget: Budget) -> Iterator[Iterator[tuple[tarfile.TarInfo, Reader]]]:
    """Yields an iterator over the members, each with what reads its content.

    It must be read to its end: then digests, checksums and the archive's end were checked.
    Raises `UsageError` for anything that is wrong.
    """
    try:
        with source.open() as stored:
            if source.digest and digest_of(stored) != source.digest:
                raise UsageError(f"its content is not that of its digest {source.digest}")
            with uncompressed(stored) as stream:
                counted = _Counted(stream, budget)
                with tarfile.open(
                    fileobj=cast(IO[bytes], counted),
                    mode="r|",
                    bufsize=CHUNK_BYTES,
                    tarinfo=Member,
                ) as archive:
                    yield _iterate(archive, budget)
                    _read_to_the_end(archive)
                found = f"sha256:{counted.hash.hexdigest()}"
                if source.content_digest not in ("", found):
                    raise UsageError(f"uncompressed it is not {source.content_digest}")
    except UsageError as error:
        raise UsageError(f"{source.label}: {error.message}", hint=error.hint) from None
    except (*DAMAGED, ValueError, MemoryError) as error:
        raise UsageError(f"{source.label} is no tar archive, or damaged: {error!r}") from None


Reader = Callable[[], IO[bytes]]


def _iterate(archive: tarfile.TarFile, budget: Budget) -> Iterator[tuple[tarfile.TarInfo, Reader]]:
    for member in archive:

        def reader(member: tarfile.TarInfo = member) -> IO[bytes]:
            found = archive.extractfile(member)
            assert found is not None
            return found

        budget.take_member()
        yield member, reader
        # Or it would remember them all.
        archive.members.clear()  # type: ignore[attr-defined]


def _read_to_the_end(archive: tarfile.TarFile) -> None:
    assert archive.fileobj is not None
    left = PADDING_BYTES
    while chunk := archive.fileobj.read(1 << 16):
        left -= len(chunk)
        if left < 0 or chunk.strip(b"\0"):
            raise UsageError("it goes on after its end")
