"""A root file system as a plain model, put together from archives before anything is written.

Names are looked up here and nowhere else, so that no link of an archive is ever followed on
the host. Whatever leads out of the root is refused.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from banger.kernel.errors import UsageError

DEPTH_MAX = 128
NAME_BYTES_MAX = 255
PATH_BYTES_MAX = 4000
LINKS_MAX = 40
"""How many are followed for one name, as in the kernel."""


class Kind(StrEnum):
    DIRECTORY = "directory"
    FILE = "file"
    LINK = "link"
    SPECIAL = "special"
    """A device, pipe or socket: it hides what was there before, and is not written."""


@dataclass(slots=True, eq=False)
class Node:
    """What one or, with hard links, several names stand for."""

    kind: Kind
    mode: int
    """Without the type."""
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    xattrs: dict[str, bytes] = field(default_factory=dict)
    size: int = 0
    target: str = ""
    source: tuple[int, int] | None = None
    """A file's content: which archive, which member of it."""
    children: dict[str, Node] = field(default_factory=dict)

    def take_over(self, other: Node) -> None:
        """Become what the other directory is, but for what is in it."""
        self.mode, self.uid, self.gid = other.mode, other.uid, other.gid
        self.mtime, self.xattrs = other.mtime, other.xattrs


class Tree:
    """The names of all members put into it. Everything raises `UsageError` for a bad one."""

    def __init__(self) -> None:
        self.root = Node(Kind.DIRECTORY, 0o755)

    def put(self, name: str, node: Node, fresh: set[Node]) -> None:
        """``fresh`` are the nodes of this archive: a name is in it once, but for directories."""
        parts = parts_of(name)
        if not parts:
            if node.kind is not Kind.DIRECTORY:
                raise UsageError(f"{name!r} is the root, and no directory")
            self.root.take_over(node)
            return
        parent = self._directory(parts[:-1], name, fresh)
        before = parent.children.get(parts[-1])
        if before is not None and before.kind is node.kind is Kind.DIRECTORY:
            before.take_over(node)
            return
        if before in fresh:
            raise UsageError(f"{name!r} is there twice")
        parent.children[parts[-1]] = node
        fresh.add(node)

    def linked(self, name: str, target: str) -> Node:
        """What the hard link ``name`` is another name of."""
        node = self.find(target, follow=False)
        if node is None or node.kind is Kind.DIRECTORY:
            raise UsageError(f"the hard link {name!r} is to no earlier file: {target!r}")
        return node

    def hide(self, name: str) -> None:
        """Take a name away with all below it; nothing happens when there is none."""
        *above, last = parts_of(name)
        parent = self._walk(above, name)
        if parent is not None:
            parent.children.pop(last, None)

    def hide_children(self, name: str) -> None:
        directory = self.find(name)
        if directory is not None:
            directory.children.clear()

    def find(self, name: str, *, follow: bool = True) -> Node | None:
        """None when there is nothing. ``follow``: also a link in the last place."""
        parts = parts_of(name)
        if follow or not parts:
            return self._walk(parts, name)
        parent = self._walk(parts[:-1], name)
        return None if parent is None else parent.children.get(parts[-1])

    def walk(self) -> Iterator[tuple[str, Node]]:
        """All but the root, directories before what is in them."""
        waiting = [("", self.root, 0)]
        while waiting:
            above, directory, depth = waiting.pop()
            for name, node in sorted(directory.children.items(), reverse=True):
                path = f"{above}/{name}" if above else name
                if depth >= DEPTH_MAX or len(os.fsencode(path)) > PATH_BYTES_MAX:
                    raise UsageError(f"{path[:80]!r}… is too deep")
                yield path, node
                if node.kind is Kind.DIRECTORY:
                    waiting.append((path, node, depth + 1))

    def _directory(self, parts: list[str], name: str, fresh: set[Node]) -> Node:
        found = self._walk(parts, name, fresh)
        if found is None or found.kind is not Kind.DIRECTORY:
            raise UsageError(f"{name!r} lies below something that is no directory")
        return found

    def _walk(self, parts: list[str], name: str, fresh: set[Node] | None = None) -> Node | None:
        """Follow links within the tree; with ``fresh`` missing directories are made."""
        stack, left, links = [self.root], list(reversed(parts)), 0
        while left:
            part = left.pop()
            if part == "..":
                if len(stack) == 1:
                    raise UsageError(f"{name!r} leads out of the root by a link")
                stack.pop()
                continue
            if stack[-1].kind is not Kind.DIRECTORY:
                return None
            child = stack[-1].children.get(part)
            if child is None and fresh is not None:
                child = stack[-1].children[part] = Node(Kind.DIRECTORY, 0o755)
                fresh.add(child)
            if child is None:
                return None
            if child.kind is not Kind.LINK:
                stack.append(child)
                if len(stack) > DEPTH_MAX:
                    raise UsageError(f"{name[:80]!r}… is deeper than {DEPTH_MAX} directories")
                continue
            links += 1
            if links > LINKS_MAX:
                raise UsageError(f"{name!r} lies behind a loop of links")
            if child.target.startswith("/"):
                del stack[1:]
            left += [part for part in reversed(child.target.split("/")) if part not in ("", ".")]
        return stack[-1]


def parts_of(name: str) -> list[str]:
    """The name without ``.`` and doubled slashes; [] is the root."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or "\0" in name:
        raise UsageError(f"{name!r} leads out of the root")
    if any(len(os.fsencode(part)) > NAME_BYTES_MAX for part in parts):
        raise UsageError(f"{name[:80]!r}… is too long a name")
    return parts


def find_program(tree: Tree, path: str) -> Node | None:
    """The executable file at an absolute path."""
    try:
        node = tree.find(path.lstrip("/"))
    except UsageError:
        # Only where a guest would see something else, or nothing.
        return None
    is_program = node is not None and node.kind is Kind.FILE and bool(node.mode & 0o111)
    return node if is_program else None


def add_standard_directories(tree: Tree, *more: str) -> None:
    """What the guest mounts on, and programs rely on; a file system of a container lacks some."""
    for name, mode in (
        ("dev", 0o755),
        ("proc", 0o555),
        ("sys", 0o555),
        ("run", 0o755),
        ("root", 0o700),
        ("tmp", 0o777 | stat.S_ISVTX),
        *((name, 0o755) for name in more),
    ):
        if tree.find(name, follow=False) is None:
            tree.put(name, Node(Kind.DIRECTORY, mode), set())
