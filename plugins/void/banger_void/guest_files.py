"""The files that a guest under runit gets, in its image and at each start alike."""

from __future__ import annotations

import stat
from pathlib import Path

import msgspec

DIRECTORY = Path(__file__).with_name("guest")


class GuestFile(msgspec.Struct, frozen=True):
    path: str
    """In the guest."""
    data: bytes
    mode: int


def read_guest_files() -> list[GuestFile]:
    """All below ``guest/``, which stands for the guest's root."""
    found = sorted(file for file in DIRECTORY.rglob("*") if file.is_file())
    return [
        GuestFile(f"/{file.relative_to(DIRECTORY)}", file.read_bytes(), _mode(file))
        for file in found
    ]


def _mode(file: Path) -> int:
    return 0o755 if file.stat().st_mode & stat.S_IXUSR else 0o644
