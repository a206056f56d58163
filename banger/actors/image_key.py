"""The key of an image build: two builds of one key are of the same inputs.

It covers all files of the recipe's directory, the programs beside that, the options the
recipe is handed with the files they name, and the contract between banger and recipes. What
a recipe fetches from elsewhere, such as newer packages, it can't cover.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

CONTRACT = 2
"""To be raised when banger expects something else of what a recipe leaves."""

FILES_MAX = 10_000
BYTES_MAX = 256 << 20
_SKIPPED = {"__pycache__", ".git"}


def build_key(
    builder: Path,
    recipe: str,
    options: Mapping[str, str],
    *,
    arguments: Sequence[str | bytes] = (),
    inputs: Sequence[Path] = (),
) -> str:
    """Hex digits; "" for a recipe with too many files to read each time. Raises OSError.

    ``inputs`` are files and directories beyond the recipe's own.
    """
    digest = hashlib.sha256()

    def add(*words: str | bytes) -> None:
        for word in words:
            data = word if isinstance(word, bytes) else os.fsencode(word)
            digest.update(len(data).to_bytes(8, "big") + data)

    add(f"contract {CONTRACT}", recipe, builder.name)
    for name, value in sorted(options.items()):
        add("option", name, value)
    for argument in arguments:
        add("argument", argument)
    read = 0
    own = [*_shared(builder.parent.parent), *_files(builder.parent)]
    more = [path for there in inputs for path in (_files(there) if there.is_dir() else [there])]
    for number, path in enumerate([*own, *more]):
        status = path.stat(follow_symlinks=False)
        read += status.st_size
        if number >= FILES_MAX or read > BYTES_MAX:
            return ""
        name = os.path.relpath(path, builder.parent.parent)
        add("file", name, f"{status.st_mode & 0o111:o}")
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
