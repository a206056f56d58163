"""Makes the disks of an image from a directory with its files: root file system and work seed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from banger.host import assets
from banger.host.tree import Kind, Tree
from banger.kernel.errors import CommandFailed, HostNotReady, UsageError
from banger.model.sizes import MIB, show_size

BLOCK_BYTES = 4096
SPARE_BYTES = 512 * MIB
SPARE_INODES = 65_536
BYTES_PER_INODE = 16_384
"""As mkfs.ext4 has it by default."""


def content_bytes(tree: Tree) -> int:
    """What the files take on a file system."""
    seen = {node for _, node in tree.walk() if node.kind is not Kind.SPECIAL}
    return sum(-(-node.size // BLOCK_BYTES) * BLOCK_BYTES + BLOCK_BYTES for node in seen)


def disk_size(tree: Tree, wanted: int) -> int:
    """``wanted``, or for 0 with a third and 512 MiB to spare. Raises `UsageError`."""
    content = content_bytes(tree)
    size = wanted or content * 13 // 10 + SPARE_BYTES
    if size < content * 11 // 10 + 64 * MIB:
        raise UsageError(
            f"a disk of {show_size(size)} is too small for {show_size(content)} of files",
            hint="leave --size out, or give more",
        )
    return -(-size // MIB) * MIB


def check_space(directory: Path, content: int) -> None:
    """The files are there twice for a while. Raises `HostNotReady`."""
    status = os.statvfs(directory)
    free = status.f_bavail * status.f_frsize
    if free < 2 * content + SPARE_BYTES:
        raise HostNotReady(
            f"{directory} has {show_size(free)} free, needed are "
            f"{show_size(2 * content + SPARE_BYTES)}"
        )


def make_root(tree: Tree, directory: Path, size: int, target: Path) -> None:
    entries = sum(1 for _ in tree.walk())
    with target.open("xb") as file:
        file.truncate(size)
    # As the Debian recipe does: on a sparse file mkfs knows the inode tables to be zero.
    _run(
        *("mkfs.ext4", "-q", "-F", "-L", "banger-root", "-m", "1", "-J", "size=32"),
        *("-N", str(max(size // BYTES_PER_INODE, entries + SPARE_INODES))),
        *("-E", "lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0"),
        *("-d", str(directory), str(target)),
    )


def make_work_seed(tree: Tree, directory: Path, target: Path) -> None:
    home = tree.find("root", follow=False)
    if home is None or home.kind is not Kind.DIRECTORY:
        # A link would be followed on the host.
        raise UsageError("its /root is no directory")
    _run(str(assets.work_seed_program()), str(directory / "root"), str(target))


def _run(*argv: str) -> None:
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    program = shutil.which(argv[0], path=path)
    if program is None:
        raise HostNotReady(f"{argv[0]} is not installed", hint="apt-get install e2fsprogs")
    done = subprocess.run(
        [program, *argv[1:]], stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    if done.returncode != 0:
        raise CommandFailed(argv, done.returncode, done.stderr.decode(errors="replace"))
