"""Growing an ext4 file system in a file, before any guest has it. Blocks, for some 30 ms."""

from __future__ import annotations

import subprocess
from pathlib import Path

from banger.kernel.errors import CommandFailed, HostNotReady

DEADLINE_S = 120


def grown_copy(source: Path, target: Path, size_bytes: int) -> None:
    """A new sparse file system of this size with the content of a smaller one of our own making.

    Raises `HostNotReady` without the tools, `CommandFailed`.
    """
    _run("cp", "--sparse=always", "--", str(source), str(target))
    with target.open("r+b") as file:
        file.truncate(max(size_bytes, source.stat().st_size))
    _run("resize2fs", str(target))


def _run(*argv: str) -> None:
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, errors="replace", timeout=DEADLINE_S, check=False
        )
    except FileNotFoundError:
        raise HostNotReady(
            f"{argv[0]} is not installed", hint="install the Debian package e2fsprogs"
        ) from None
    if done.returncode != 0:
        raise CommandFailed(argv, done.returncode, done.stderr)
