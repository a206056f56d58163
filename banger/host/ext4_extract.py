"""Copies a directory out of an ext4 file system that is not mounted, and may be hostile.

Regular files, directories and links with owner, mode and extended attributes; no device.
Nothing is written outside of the target: names are checked, links are made, not followed.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from banger.host.ext4_tree import Inode, Tree

ENTRIES_MAX = 100_000
_OF_ALL = ("user.", "system.posix_acl_")
_OF_ROOT = ("trusted.", "security.capability")
BYTES_MAX = 1 << 30
"""Of all files by their sizes, holes included."""
DEPTH_MAX = 64


def extract(tree: Tree, path: str, target: Path) -> None:
    """Fill a new directory with what is at ``path``; it stays empty when nothing is.

    Raises `ValueError` for a damaged file system or more than fits, OSError.
    """
    target.mkdir(mode=0o700)
    found = tree.find(path)
    if found is not None and stat.S_ISDIR(found.mode):
        _Extraction(tree).directory(found, target, 0)


class _Extraction:
    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._entries = 0
        self._bytes = 0

    def directory(self, inode: Inode, target: Path, depth: int) -> None:
        if depth > DEPTH_MAX:
            raise ValueError(f"directories deeper than {DEPTH_MAX}")
        for name, child in self._tree.entries(inode):
            self._entries += 1
            if self._entries > ENTRIES_MAX:
                raise ValueError(f"more than {ENTRIES_MAX} files in one home")
            if b"/" in name or b"\0" in name or not name:
                raise ValueError(f"a file is called {name!r}")
            self._entry(child, target / os.fsdecode(name), depth)
        self._dress(inode, target)

    def _entry(self, inode: Inode, path: Path, depth: int) -> None:
        if stat.S_ISDIR(inode.mode):
            path.mkdir(mode=0o700)
            self.directory(inode, path, depth + 1)
        elif stat.S_ISLNK(inode.mode):
            path.symlink_to(os.fsdecode(self._tree.target(inode)))
            if os.geteuid() == 0:
                os.chown(path, inode.uid, inode.gid, follow_symlinks=False)
        elif stat.S_ISREG(inode.mode):
            self._bytes += inode.size
            if self._bytes > BYTES_MAX:
                raise ValueError(f"more than {BYTES_MAX >> 20} MiB in one home")
            with path.open("xb") as file:
                self._tree.copy(inode, file.fileno())
            self._dress(inode, path)

    def _dress(self, inode: Inode, path: Path) -> None:
        is_root = os.geteuid() == 0
        if is_root:
            os.chown(path, inode.uid, inode.gid)
        path.chmod(stat.S_IMODE(inode.mode))
        for name, value in self._tree.attributes(inode).items():
            # Labels of security modules are the host's affair.
            if name.startswith(_OF_ALL) or (is_root and name.startswith(_OF_ROOT)):
                _set_attribute(path, name, value)


def _set_attribute(path: Path, name: str, value: bytes) -> None:
    try:
        os.setxattr(path, name, value, follow_symlinks=False)
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:  # a tmpfs
            raise
