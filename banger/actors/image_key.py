"""The key of an image build: two builds of one key are of the same inputs.

It covers all files of the recipe's directory, the programs beside that, the options the
recipe is handed, and the contract between banger and recipes. What a recipe fetches from
elsewhere, such as newer packages, it can't cover.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

CONTRACT = 1
"""To be raised when banger expects something else of what a recipe leaves."""

FILES_MAX = 10_000
BYTES_MAX = 256 << 20
_SKIPPED = {"__pycache__", ".git"}


def build_key(builder: Path, recipe: str, options: Mapping[str, str]) -> str:
    """Hex digits; "" for a recipe with too many files to read each time. Raises OSError."""
    digest = hashlib.sha256()

    def add(*words: str | bytes) -> None:
        for word in words:
            data = word if isinstance(word, bytes) else os.fsencode(word)
            digest.update(len(data).to_bytes(8, "big") + data)

    add(f"contract {CONTRACT}", recipe, builder.name)
    for name, value in sorted(options.items()):
        add("option", name, value)
    read = 0
    for number, path in enumerate([*_shared(builder.parent.parent), *_files(builder.parent)]):
        status = path.stat(follow_symlinks=False)
        read += status.st_size
        if number >= FILES_MAX or read > BYTES_MAX:
            return ""
        add("file", str(path.relative_to(builder.parent.parent)), f"{status.st_mode & 0o111:o}")
        if stat.S_ISLNK(status.st_mode):
            add("link", str(path.readlink()))
        elif stat.S_ISREG(status.st_mode):
            add("content", path.read_bytes())
    return digest.hexdigest()


def _shared(directory: Path) -> list[Path]:
    """Programs beside the recipe's directory: several recipes may use one."""
    programs = (path for path in directory.iterdir() if os.access(path, os.X_OK))
    return sorted(path for path in programs if path.is_file())


def _files(directory: Path) -> Iterator[Path]:
    """In an order of its own, whatever the file system's is."""
    for entry in sorted(directory.iterdir()):
        if entry.is_dir() and not entry.is_symlink():
            if entry.name not in _SKIPPED:
                yield from _files(entry)
        else:
            yield entry
