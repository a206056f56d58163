"""An image as one archive: its files, and a document that tells what they are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from banger.host import sparse_tar
from banger.host.image_files import KERNEL, MODULES, ROOT, WORK_SEED, ImageFiles, problem_of
from banger.kernel.errors import HostNotReady
from banger.model.image import ImageRecord

FORMAT = 1
FACTS = "image.json"


class Facts(msgspec.Struct, frozen=True):
    """``image.json``, the archive's first member."""

    format: int
    name: str
    distribution: str
    kernel_version: str
    root_bytes: int
    recipe: str
    key: str
    built_at: float
    """Unix seconds."""


@contextmanager
def opened(root: Path, record: ImageRecord) -> Iterator[list[sparse_tar.Member]]:
    """The members of an image's archive; its files stay open for as long.

    Raises `HostNotReady` when they can't be used. Blocks.
    """
    directory = root / record.id
    problem = problem_of(directory, record)
    if problem:
        raise HostNotReady(f"image {record.name!r} can't be exported: {problem}")
    files = ImageFiles.of(directory, record.registered)
    facts = Facts(
        FORMAT,
        record.name,
        record.distribution,
        record.kernel_version,
        record.root_bytes,
        record.recipe if record.registered is None else "",
        record.key if record.registered is None else "",
        record.built_at,
    )
    document = msgspec.json.format(msgspec.json.encode(facts))
    members = [sparse_tar.Member(FACTS, document, int(record.built_at))]
    named = {KERNEL: files.kernel, MODULES: files.modules, ROOT: files.root}
    if files.work_seed is not None:
        named[WORK_SEED] = files.work_seed
    with ExitStack() as stack:
        try:
            for name, path in named.items():
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
                stack.callback(os.close, fd)
                members.append(sparse_tar.Member(name, fd, int(os.fstat(fd).st_mtime)))
        except OSError as error:
            raise HostNotReady(f"image {record.name!r} can't be exported: {error}") from error
        yield members
