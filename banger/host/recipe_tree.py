"""Copies the whole tree of an image's ext4 file that is not mounted, as the base of another image.

``python -m banger.host.recipe_tree ROOT.ext4 DIRECTORY``. Run as root, or as root of a user
namespace. debugfs copies the data; it loses set-uid and sticky bits, hard links, and
capabilities, which are restored after it. Devices are not copied: a guest makes its own.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from banger.host.ext4 import open_image, read_superblock
from banger.host.ext4_tree import Inode, Tree
from banger.kernel.errors import BangerError, CorruptRecord, HostNotReady

DEBUGFS_DEADLINE_S = 600
CAPABILITIES = "security.capability"
_DEPTH_MAX = 64


def copy_tree(disk: Path, target: Path) -> None:
    """Fill an empty directory with the tree.

    Raises `CorruptRecord` for what can't be read in full, `HostNotReady`, OSError.
    """
    file = open_image(disk)
    try:
        tree = Tree(file, read_superblock(file, disk))
        found = list(_walk(tree))
    except ValueError as error:
        raise CorruptRecord(f"{disk} can't be copied: {error}") from None
    finally:
        os.close(file)
    _debugfs(disk, [f'rdump / "{target}"'])
    first: dict[int, Path] = {}
    for path, inode in found:
        here = target / path
        if not os.path.lexists(here):
            if _is_copied(inode):
                raise CorruptRecord(f"{disk} can't be copied: debugfs left out /{path}")
            continue
        _restore(here, inode, first)
    _capabilities(disk, target, [path for path, inode in found if _may_have_some(inode)])
    if (target / "lost+found").is_dir():
        (target / "lost+found").rmdir()


def _walk(tree: Tree) -> Iterator[tuple[str, Inode]]:
    """Paths without a leading slash; what is in a directory comes before it."""
    root = tree.find("/")
    assert root is not None
    yield from _below(tree, root, "", 0)


def _below(tree: Tree, directory: Inode, prefix: str, depth: int) -> Iterator[tuple[str, Inode]]:
    if depth > _DEPTH_MAX:
        raise ValueError(f"directories deeper than {_DEPTH_MAX}")
    seen: set[str] = set()
    for raw, inode in tree.entries(directory):
        name = os.fsdecode(raw)
        # Of two with one name the first could be a link that leads debugfs out of the target.
        if not name or "/" in name or "\0" in name or name in seen:
            raise ValueError(f"a file is called {name!r}")
        seen.add(name)
        if stat.S_ISDIR(inode.mode):
            yield from _below(tree, inode, f"{prefix}{name}/", depth + 1)
        yield f"{prefix}{name}", inode


def _is_copied(inode: Inode) -> bool:
    return stat.S_ISREG(inode.mode) or stat.S_ISDIR(inode.mode) or stat.S_ISLNK(inode.mode)


def _restore(here: Path, inode: Inode, first: dict[int, Path]) -> None:
    os.chown(here, inode.uid, inode.gid, follow_symlinks=False)
    if stat.S_ISLNK(inode.mode):
        return
    if stat.S_ISREG(inode.mode):
        if here.stat().st_size != inode.size:
            raise HostNotReady(f"debugfs copied only a part of {here}", hint="is the disk full?")
        known = first.setdefault(inode.number, here)
        if known != here:
            here.unlink()
            here.hardlink_to(known)
            return
    here.chmod(stat.S_IMODE(inode.mode))


def _may_have_some(inode: Inode) -> bool:
    return stat.S_ISREG(inode.mode) and bool(inode.mode & 0o111)


def _capabilities(disk: Path, target: Path, programs: list[str]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        values = {
            str(number): path for number, path in enumerate(programs) if not set(path) & {'"', "\n"}
        }
        _debugfs(
            disk,
            [
                f'ea_get -f {directory}/{number} "/{path}" {CAPABILITIES}'
                for number, path in values.items()
            ],
        )
        for file in Path(directory).iterdir():
            value = file.read_bytes()
            if value:
                os.setxattr(target / values[file.name], CAPABILITIES, value)


def _debugfs(disk: Path, commands: list[str]) -> None:
    """Its exit code is 0 whatever happened."""
    try:
        subprocess.run(
            ["debugfs", "-f", "/dev/stdin", str(disk)],
            input="".join(f"{line}\n" for line in commands).encode(errors="surrogateescape"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=DEBUGFS_DEADLINE_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise HostNotReady(f"debugfs can't read {disk}: {error}") from error


def main() -> int:
    if len(sys.argv) != 3:
        sys.stderr.write("usage: recipe_tree ROOT.ext4 DIRECTORY\n")
        return 2
    try:
        copy_tree(Path(sys.argv[1]), Path(sys.argv[2]))
    except (BangerError, OSError) as error:
        sys.stderr.write(f"build: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
