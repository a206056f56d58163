"""Where a seed's files are, and what its key is made of. Everything here blocks."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

import msgspec

import banger
from banger.host import assets
from banger.host.image_files import ImageFiles
from banger.kernel.errors import CorruptRecord
from banger.model.seed import SeedOrder

FORMAT = 3
"""Goes up when seeds that were made before are of no use any more."""

RAM = "ram"
STATE = "state"
ROOT = "root.qcow2"
WORK = "work.qcow2"
WORK_BASE = "work.ext4"
STATE_LIMIT_BYTES = 64 << 20
_KEY_DIGITS = 24


class SeedFiles(msgspec.Struct, frozen=True):
    ram: Path
    """The guest's memory: sparse, its free pages are holes."""
    state: Path
    """All else of the machine, in the VMM's own format."""
    root: Path
    """A frozen overlay of the image's root disk."""
    work: Path
    """A frozen overlay of ``work_base``. The guest has it mounted: to do so takes long."""
    work_base: Path
    """The image's work seed, grown to what most work disks have: guests grow it slowly."""

    @classmethod
    def of(cls, directory: Path) -> SeedFiles:
        return cls(
            ram=directory / RAM,
            state=directory / STATE,
            root=directory / ROOT,
            work=directory / WORK,
            work_base=directory / WORK_BASE,
        )


def seed_key(order: SeedOrder, image: ImageFiles, likeness: str) -> str:
    """Of all that a seed depends on: the order, the image's files, the agent, the machine.

    Raises OSError for files that are gone, `HostNotReady` without an agent.
    """
    files = [image.root, image.kernel, image.modules]
    if image.work_seed is not None:
        files.append(image.work_seed)
    inputs = (
        FORMAT,
        banger.__version__,
        order,
        [_stamp(path) for path in files],
        _agent(),
        likeness,
    )
    return hashlib.sha256(msgspec.json.encode(inputs)).hexdigest()[:_KEY_DIGITS]


def state_digest(path: Path) -> str:
    """Raises `CorruptRecord` for a file that can't be read or can't be a state."""
    try:
        size = path.stat(follow_symlinks=False).st_size
        if size > STATE_LIMIT_BYTES:
            raise CorruptRecord(f"{path} has {size} bytes")
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise CorruptRecord(f"{path} can't be read: {error.strerror}") from None


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _agent() -> str:
    path = assets.agent_binary()
    return _digest(path, *_stamp(path))


@functools.cache
def _digest(path: Path, size: int, mtime_ns: int) -> str:
    """Of a file's content, read anew once it was written to."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
