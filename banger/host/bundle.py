"""A runtime bundle: a directory with all that VMs are made from, and ``bundle.json`` about it.

It has an image's files, the guest agent, and their sizes and SHA-256 sums, so that another
checkout needs to build neither. Files stay sparse. Everything here blocks.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from banger.host.image_files import image_store, usable_files
from banger.host.sparse_tar import extents
from banger.kernel.errors import HostNotReady, NotFound, UsageError
from banger.kernel.store import sync_directory, write_durably
from banger.kernel.wire import BAD_BYTES
from banger.model.clock import rfc3339
from banger.model.image import ImageRecord

ABOUT = "bundle.json"
AGENT = "banger-agent"
ABOUT_LIMIT_BYTES = 1 << 20
FILE_LIMIT_BYTES = 64 << 30

_CHUNK_BYTES = 1 << 20
_ZEROS = bytes(_CHUNK_BYTES)
_HOLE_BYTES = 4096

FileName = Literal["root.ext4", "vmlinux", "modules.cpio", "work-seed.ext4", "banger-agent"]
_NEEDED = ("root.ext4", "vmlinux", "modules.cpio", AGENT)

Size = Annotated[int, msgspec.Meta(ge=0, le=FILE_LIMIT_BYTES)]
Sum = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class BundledFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    path: FileName
    size: Size
    sha256: Sum


class Bundle(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What stands in ``bundle.json``."""

    version: Literal[1]
    banger: str
    """The version of the banger it was made with."""
    made_at: str
    """UTC, RFC 3339."""
    distribution: str
    kernel: str
    files: Annotated[list[BundledFile], msgspec.Meta(max_length=16)]


def decode_about(data: bytes, origin: str) -> Bundle:
    """Raises `UsageError` for one that is not valid, or lacks a file."""
    try:
        bundle = msgspec.json.decode(data, type=Bundle)
    except BAD_BYTES as error:
        raise UsageError(f"{origin} is not valid: {error}") from None
    names = [file.path for file in bundle.files]
    missing = [name for name in _NEEDED if name not in names]
    if missing:
        raise UsageError(f"{origin} lacks {', '.join(missing)}")
    if len(set(names)) < len(names):
        raise UsageError(f"{origin} names a file twice")
    return bundle


def read_about(directory: Path) -> Bundle:
    """Of the bundle in the directory. Raises `NotFound`, `UsageError`."""
    path = directory / ABOUT
    try:
        with path.open("rb") as file:
            data = file.read(ABOUT_LIMIT_BYTES + 1)
    except OSError as error:
        raise NotFound(
            f"there is no runtime bundle in {directory}: {error.strerror}",
            hint="'make runtime-bundle' makes one",
        ) from None
    if len(data) > ABOUT_LIMIT_BYTES:
        raise UsageError(f"{path} is larger than {ABOUT_LIMIT_BYTES} bytes")
    return decode_about(data, str(path))


def collect(images: Path, image: str, agent: Path, directory: Path, version: str) -> Bundle:
    """Make the directory the bundle of the newest image of that name.

    What was there is replaced, whole or not at all. Raises `NotFound`, `HostNotReady`.
    """
    record = _newest(images, image)
    found = usable_files(images, record.id)
    sources: dict[FileName, Path] = {
        "root.ext4": found.root,
        "vmlinux": found.kernel,
        "modules.cpio": found.modules,
        "banger-agent": agent,
    }
    if found.work_seed is not None:
        sources["work-seed.ext4"] = found.work_seed
    with replacing(directory) as fresh:
        files = [
            BundledFile(name, source.stat().st_size, copy_sparse(source, fresh / name))
            for name, source in sources.items()
        ]
        bundle = Bundle(
            version=1,
            banger=version,
            made_at=rfc3339(time.time()),
            distribution=record.distribution,
            kernel=record.kernel_version,
            files=files,
        )
        finish(fresh, bundle)
    return bundle


def finish(directory: Path, bundle: Bundle) -> None:
    """Write ``bundle.json`` beside the files."""
    (directory / AGENT).chmod(0o755)
    data = msgspec.json.format(msgspec.json.encode(bundle))
    write_durably(directory / ABOUT, data, mode=0o644)


def take_image(directory: Path, target: Path) -> Bundle:
    """Copy the image of a bundle, as a recipe leaves one. Raises `UsageError` for wrong sums."""
    bundle = read_about(directory)
    for file in bundle.files:
        if file.path != AGENT:
            check(file, copy_sparse(directory / file.path, target / file.path), str(directory))
    facts = {"kernel": bundle.kernel, "distribution": bundle.distribution}
    write_durably(target / "build.json", msgspec.json.encode(facts), mode=0o644)
    return bundle


def check(file: BundledFile, found: str, origin: str) -> None:
    if found != file.sha256:
        raise UsageError(
            f"{file.path} of {origin} has the SHA-256 sum {found}, not {file.sha256}",
            hint="it was changed or damaged: make or fetch the bundle again",
        )


def copy_sparse(source: Path, target: Path) -> str:
    """Copy a file without its holes; the SHA-256 sum of all of it. ``target`` must be new."""
    digest = hashlib.sha256()
    with source.open("rb") as old, target.open("xb") as new:
        size = os.fstat(old.fileno()).st_size
        at = 0
        for extent in extents(old.fileno()):
            _add_zeros(digest, extent.at - at)
            at, end = extent.at, extent.at + extent.size
            while at < end:
                data = os.pread(old.fileno(), min(_CHUNK_BYTES, end - at), at)
                if not data:
                    raise HostNotReady(f"{source} shrank while it was read")
                digest.update(data)
                write_sparse(new.fileno(), data, at)
                at += len(data)
        _add_zeros(digest, size - at)
        new.truncate(size)
    return digest.hexdigest()


def write_sparse(file: int, data: bytes, at: int) -> int:
    """Write what is not zero, by blocks; how many bytes that was. Beyond it is a hole."""
    if data == _ZEROS[: len(data)]:
        return 0
    written = 0
    begin = None
    for offset in range(0, len(data) + _HOLE_BYTES, _HOLE_BYTES):
        block = data[offset : offset + _HOLE_BYTES]
        if block.strip(b"\0"):
            begin = offset if begin is None else begin
        elif begin is not None:
            part = memoryview(data)[begin:offset]
            while part:
                done = os.pwrite(file, part, at + begin)
                part, begin, written = part[done:], begin + done, written + done
            begin = None
    return written


def _add_zeros(digest: hashlib._Hash, count: int) -> None:
    for _ in range(count // _CHUNK_BYTES):
        digest.update(_ZEROS)
    digest.update(_ZEROS[: count % _CHUNK_BYTES])


@contextmanager
def replacing(directory: Path) -> Iterator[Path]:
    """A new directory beside it that takes its place when the body succeeds.

    A bundle has files only: directories that were there are not its own, and stay.
    """
    fresh = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    try:
        fresh.chmod(0o755)
        yield fresh
        sync_directory(fresh)
        if directory.exists():
            former = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
            directory.rename(former)
            fresh.rename(directory)
            for other in former.iterdir():
                if other.is_dir() and not other.is_symlink():
                    other.rename(directory / other.name)
            shutil.rmtree(former)
        else:
            fresh.rename(directory)
        sync_directory(directory.parent)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise


def _newest(images: Path, name: str) -> ImageRecord:
    records = image_store(images).load_all()[0].values()
    found = [record for record in records if record.name == name]
    if not found:
        raise NotFound(f"there is no image {name!r} in {images}", hint="run 'make image' first")
    return max(found, key=lambda record: record.built_at)
