"""Puts the members of archives into a `Tree`: a root tarball, or the layers of an OCI image.

Layers: "Image Layer Filesystem Changeset" of the OCI image specification, 1.1.
"""

from __future__ import annotations

import math
import tarfile
from collections.abc import Sequence

from banger.host.archive import Budget, Source, members
from banger.host.tree import Kind, Node, Tree, parts_of
from banger.kernel.errors import UsageError

WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"
_RESERVED = ".wh..wh."
XATTR = "SCHILY.xattr."
_XATTRS_KEPT = ("user.", "security.capability", "system.posix_acl_")
XATTR_BYTES_MAX = 3000
"""Of one file. They have to fit into a block of ext4."""
_ID_MAX = (1 << 32) - 2
_TIME_MAX = 1 << 33


def read_tree(sources: Sequence[Source], budget: Budget, *, layers: bool) -> Tree:
    """The later ones on top. Without ``layers`` names like ``.wh.a`` mean nothing.

    Raises `UsageError` for whatever must not or can't be unpacked.
    """
    tree = Tree()
    for number, source in enumerate(sources):
        with members(source, budget) as found:
            entries = [_Entry(member, number, index) for index, (member, _) in enumerate(found)]
            for entry in entries:
                budget.take_file(entry.size)
            if layers:
                # They are of the layers below, wherever they stand in this one.
                entries = [entry for entry in entries if not _hidden(tree, entry.name)]
            fresh: set[Node] = set()
            for entry in entries:
                node = entry.node or tree.linked(entry.name, entry.link)
                tree.put(entry.name, node, fresh)
    return tree


class _Entry:
    """A member, without the rest of tarfile's memory of it."""

    def __init__(self, member: tarfile.TarInfo, number: int, index: int) -> None:
        self.name = member.name
        self.link = member.linkname if member.islnk() else ""
        self.size = member.size if member.isreg() else 0
        self.node = None if member.islnk() else _node(member, (number, index))
        parts_of(self.name)
        if self.link:
            parts_of(self.link)


def _node(member: tarfile.TarInfo, source: tuple[int, int]) -> Node:
    kinds = (
        (member.isdir(), Kind.DIRECTORY),
        (member.isreg(), Kind.FILE),
        (member.issym(), Kind.LINK),
        (member.isdev(), Kind.SPECIAL),
    )
    kind = next((kind for fits, kind in kinds if fits), None)
    if kind is None:
        raise UsageError(f"{member.name!r} is of an unknown type")
    if not 0 <= member.uid <= _ID_MAX or not 0 <= member.gid <= _ID_MAX:
        raise UsageError(f"{member.name!r} is of user {member.uid}, group {member.gid}")
    if kind is Kind.LINK and (
        not 0 < len(member.linkname.encode(errors="surrogateescape")) < 4096
        or "\0" in member.linkname
    ):
        raise UsageError(f"the link {member.name!r} has no target, or one too long")
    node = Node(kind, member.mode & 0o7777, member.uid, member.gid, _time(member.mtime))
    if kind is Kind.FILE:
        node.size, node.source = member.size, source
    if kind is Kind.LINK:
        node.target = member.linkname
    if kind in (Kind.FILE, Kind.DIRECTORY):
        node.xattrs = _xattrs(member)
    return node


def _time(value: float) -> int:
    return min(max(int(value), 0), _TIME_MAX) if math.isfinite(value) else 0


def _xattrs(member: tarfile.TarInfo) -> dict[str, bytes]:
    found = {}
    for header, text in member.pax_headers.items():
        name = header.removeprefix(XATTR)
        if name != header and name.startswith(_XATTRS_KEPT) and "\0" not in name:
            found[name] = text.encode(errors="surrogateescape")
    if sum(len(name) + len(value) for name, value in found.items()) > XATTR_BYTES_MAX:
        raise UsageError(f"{member.name!r} has more extended attributes than ext4 can hold")
    return found


def _hidden(tree: Tree, name: str) -> bool:
    """Whether it is a whiteout, which then was heeded."""
    parts = parts_of(name)
    if not parts or not parts[-1].startswith(WHITEOUT):
        return False
    above = "/".join(parts[:-1])
    if parts[-1] == OPAQUE:
        tree.hide_children(above)
    elif not parts[-1].startswith(_RESERVED):
        hidden = parts[-1].removeprefix(WHITEOUT)
        if hidden in ("", ".", ".."):
            raise UsageError(f"{name!r} hides nothing that has a name")
        tree.hide(f"{above}/{hidden}" if above else hidden)
    return True
