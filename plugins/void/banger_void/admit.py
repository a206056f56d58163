"""Reads a root tarball from a stranger: ``python admit.py TARBALL CLEAN_TAR LIMIT_BYTES``.

A program of its own, without banger. What comes out is an archive written anew from the
members that were understood, in which nothing leads out of the directory it is unpacked in:
no absolute names, no ``..``, nothing below a link, no name twice, no hard link but to an earlier
member, no device, pipe or socket, and no more bytes than the limit. One bad member refuses
the whole tarball: exit code 1 and a line on stderr. Absolute symbolic links are what a root
file system is full of; they stay, and nothing is written through them.

The formats are those of Python's `tarfile`: ustar, pax, GNU; plain, gzip, bzip2 or xz.
"""

from __future__ import annotations

import lzma
import sys
import tarfile
import zlib
from pathlib import Path
from typing import IO, Literal

MOST_MEMBERS = 1_000_000
CHUNK_BYTES = 1 << 16
PADDING_BYTES = 1 << 20
"""More than archivers put behind the end."""
XATTR = "SCHILY.xattr."
"""Of the pax headers only extended attributes (file capabilities) are kept."""

Kind = Literal["directory", "file", "link"]


class Hostile(Exception):
    """A member that must not be unpacked."""


class Tree:
    """The names seen so far, relative to the root, "" is the root itself."""

    def __init__(self, limit_bytes: int) -> None:
        self._left = limit_bytes
        self._limit = limit_bytes
        self._kinds: dict[str, Kind] = {"": "directory"}

    def admit(self, member: tarfile.TarInfo) -> tarfile.TarInfo:
        """The member as it may be written. Raises `Hostile`."""
        path = _inside(member.name, f"the member {member.name!r}")
        kind = self._kind(path, member)
        self._enter_parents(path)
        before = self._kinds.get(path)
        if before is not None and (before, kind) != ("directory", "directory"):
            raise Hostile(f"{member.name!r} is there twice")
        self._kinds[path] = kind
        if len(self._kinds) > MOST_MEMBERS:
            raise Hostile(f"more than {MOST_MEMBERS} members")
        self._left -= member.size if member.isreg() else 0
        if self._left < 0:
            raise Hostile(f"unpacked it is larger than {self._limit} bytes")
        return _rewritten(member, path)

    def _kind(self, path: str, member: tarfile.TarInfo) -> Kind:
        if member.isdir():
            return "directory"
        if member.isreg():
            return "file"
        if member.issym():
            _check_symlink(path, member.linkname)
            return "link"
        if member.islnk():
            target = _inside(member.linkname, f"the target of the hard link {member.name!r}")
            kind = self._kinds.get(target)
            if kind not in ("file", "link"):
                raise Hostile(f"the hard link {member.name!r} is to no earlier file")
            return kind
        raise Hostile(f"{member.name!r} is a device, a pipe or of an unknown type")

    def _enter_parents(self, path: str) -> None:
        parts = path.split("/")
        for depth in range(1, len(parts)):
            parent = "/".join(parts[:depth])
            if self._kinds.setdefault(parent, "directory") != "directory":
                raise Hostile(f"{path!r} lies below {parent!r}, which is no directory")


def _inside(name: str, what: str) -> str:
    """The name without ``.`` and doubled slashes."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts:
        raise Hostile(f"{what} leads out of the root: {name!r}")
    return "/".join(parts)


def _check_symlink(path: str, target: str) -> None:
    depth = 0 if target.startswith("/") else path.count("/")
    for part in target.split("/"):
        depth += {"": 0, ".": 0, "..": -1}.get(part, 1)
        if depth < 0:
            raise Hostile(f"the link {path!r} leads out of the root: {target!r}")


def _rewritten(member: tarfile.TarInfo, path: str) -> tarfile.TarInfo:
    clean = tarfile.TarInfo(path or ".")
    clean.mode, clean.uid, clean.gid = member.mode & 0o7777, member.uid, member.gid
    clean.mtime = int(member.mtime)
    clean.type = tarfile.REGTYPE if member.isreg() else member.type
    clean.size = member.size if member.isreg() else 0
    if member.issym():
        clean.linkname = member.linkname
    elif member.islnk():
        clean.linkname = _inside(member.linkname, "a target")
    clean.pax_headers = {k: v for k, v in member.pax_headers.items() if k.startswith(XATTR)}
    return clean


def admit(tarball: Path, output: IO[bytes], limit_bytes: int) -> None:
    """Write the clean archive. Raises `Hostile`, `tarfile.TarError`, OSError and what
    decompressors raise."""
    tree = Tree(limit_bytes)
    with (
        tarfile.open(tarball, "r:*") as source,
        tarfile.open(fileobj=output, mode="w|", format=tarfile.PAX_FORMAT) as target,
    ):
        for member in source:
            clean = tree.admit(member)
            target.addfile(clean, source.extractfile(member) if member.isreg() else None)
            # Or it would remember them all.
            source.members.clear()  # type: ignore[attr-defined]
        _read_to_the_end(source)


def _read_to_the_end(source: tarfile.TarFile) -> None:
    """Then the decompressor has compared its checksums, and seen that nothing is cut off."""
    assert source.fileobj is not None
    left = PADDING_BYTES
    while chunk := source.fileobj.read(CHUNK_BYTES):
        left -= len(chunk)
        if left < 0:
            raise Hostile("it goes on after its end")


def main() -> int:
    tarball, target, limit_bytes = sys.argv[1:]
    try:
        with Path(target).open("xb") as output:
            admit(Path(tarball), output, int(limit_bytes))
    except Hostile as error:
        reason = f"refused, hostile: {error}"
    except (tarfile.TarError, EOFError, OSError, lzma.LZMAError, zlib.error) as error:
        reason = f"damaged or no tar archive: {error}"
    else:
        return 0
    print(f"admit: the root tarball is {reason}", file=sys.stderr)  # noqa: T201 - a program
    return 1


if __name__ == "__main__":
    sys.exit(main())
