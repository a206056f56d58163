"""Where an image's files are, and whether they are still what they were.

A built image has all of them in its directory. Of a registered one the root file
system stays where it was; the others are copies in its directory.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec

from banger.kernel.errors import HostNotReady
from banger.kernel.store import RecordStore
from banger.model.image import (
    RECORD_MIGRATIONS,
    RECORD_VERSION,
    HostFile,
    ImageRecord,
    Registration,
)

ROOT = "root.ext4"
KERNEL = "vmlinux"
MODULES = "modules.cpio"
WORK_SEED = "work-seed.ext4"


class ImageFiles(msgspec.Struct, frozen=True):
    root: Path
    kernel: Path
    modules: Path
    work_seed: Path | None = None
    """A small ext4 with the image's /root; None for an image without one."""

    @classmethod
    def of(cls, directory: Path, registered: Registration | None = None) -> ImageFiles:
        root, seed = directory / ROOT, directory / WORK_SEED
        work_seed = seed if seed.exists() else None
        if registered is not None:
            root = Path(registered.root.path)
        return cls(root, directory / KERNEL, directory / MODULES, work_seed)


def image_store(root: Path) -> RecordStore[ImageRecord]:
    return RecordStore(
        root,
        ImageRecord,
        version=RECORD_VERSION,
        migrations=RECORD_MIGRATIONS,
        key_of=lambda image: image.id,
    )


def usable_files(root: Path, image_id: str) -> ImageFiles:
    """The files of an image below ``root``.

    Raises `HostNotReady` when it or one of them is gone or has changed, `CorruptRecord` for
    a record that can't be read.
    """
    store = image_store(root)
    try:
        record = store.load(image_id)
    except FileNotFoundError:
        raise HostNotReady(
            f"the image {image_id} is gone",
            hint=f"put {store.directory(image_id)} back, or delete its VMs",
        ) from None
    problem = problem_of(store.directory(image_id), record)
    if problem:
        raise HostNotReady(f"image {record.name!r} can't be used: {problem}", hint=_remedy(record))
    return ImageFiles.of(store.directory(image_id), record.registered)


def problem_of(directory: Path, record: ImageRecord) -> str:
    """What is wrong with the image's files; "" when nothing is."""
    return next(_problems(directory, record), "")


def host_file(path: Path, file: int) -> HostFile:
    """``file`` is a descriptor of it."""
    status = os.fstat(file)
    return HostFile(str(path), status.st_size, status.st_mtime_ns)


def _problems(directory: Path, record: ImageRecord) -> Iterator[str]:
    files = ImageFiles.of(directory, record.registered)
    for path in (files.kernel, files.modules):
        if not path.exists():
            yield f"{path} is missing"
    if record.registered is None:
        # Nobody but us writes there: that it is whole will do.
        if not files.root.exists():
            yield f"{files.root} is missing"
        elif (size := files.root.stat().st_size) != record.root_bytes:
            yield f"{files.root} has {size} bytes, its record says {record.root_bytes}"
        return
    yield from _changes(record.registered.root)


def _changes(known: HostFile) -> Iterator[str]:
    try:
        status = Path(known.path).stat(follow_symlinks=False)
    except OSError as error:
        yield f"{known.path}: {error.strerror}"
        return
    if not stat.S_ISREG(status.st_mode):
        yield f"{known.path} is no longer a regular file"
    elif status.st_size != known.size:
        yield f"{known.path} had {known.size} bytes when it was registered, now {status.st_size}"
    elif status.st_mtime_ns != known.mtime_ns:
        yield f"{known.path} was written to since it was registered"


def _remedy(record: ImageRecord) -> str:
    if record.imported is not None:
        return f"import {record.imported.path} again"
    if record.registered is None:
        return f"'banger image build {record.name} --force' makes a new one"
    return (
        "disks of VMs are valid only over the file as it was: put that back, or delete the "
        f"VMs and 'banger image register --name {record.name}' again"
    )
