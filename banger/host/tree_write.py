"""Writes a `Tree` into an empty directory.

Directories first, files each made anew, links last: while anything is written there is no
link in the directory that could be followed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import IO

from banger.host.archive import CHUNK_BYTES, Budget, Source, members
from banger.host.tree import Kind, Node, Tree
from banger.kernel.errors import UsageError


def write_tree(tree: Tree, sources: Sequence[Source], directory: int, budget: Budget) -> None:
    """``directory`` is a descriptor of it, which nobody else may write to.

    Raises `UsageError` when the sources are not what they were when the tree was read; OSError.
    """
    names: dict[Node, list[str]] = {}
    directories: list[tuple[str, Node]] = []
    links: list[tuple[str, Node]] = []
    for path, node in tree.walk():
        if node.kind is Kind.DIRECTORY:
            os.mkdir(path, 0o700, dir_fd=directory)
            directories.append((path, node))
        elif node.kind is Kind.FILE:
            names.setdefault(node, []).append(path)
        elif node.kind is Kind.LINK:
            links.append((path, node))
    _write_files(names, sources, directory, budget)
    for path, node in links:
        os.symlink(node.target, path, dir_fd=directory)
        os.chown(path, node.uid, node.gid, dir_fd=directory, follow_symlinks=False)
        os.utime(path, (node.mtime, node.mtime), dir_fd=directory, follow_symlinks=False)
    for path, node in reversed([(".", tree.root), *directories]):
        file = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
        try:
            _dress(file, node)
        finally:
            os.close(file)


def _write_files(
    names: dict[Node, list[str]], sources: Sequence[Source], directory: int, budget: Budget
) -> None:
    wanted = {node.source: node for node in names}
    for number, source in enumerate(sources):
        with members(source, budget) as found:
            for index, (member, reader) in enumerate(found):
                node = wanted.pop((number, index), None)
                if node is None:
                    continue
                if not member.isreg() or member.size != node.size:
                    raise UsageError("it changed while it was read")
                first, *others = names[node]
                _write_file(first, node, reader(), directory)
                for other in others:
                    os.link(
                        first,
                        other,
                        src_dir_fd=directory,
                        dst_dir_fd=directory,
                        follow_symlinks=False,
                    )
    if wanted:
        raise UsageError("the archive changed while it was read")


def _write_file(path: str, node: Node, content: IO[bytes], directory: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    file = os.open(path, flags, 0o600, dir_fd=directory)
    try:
        at = 0
        while chunk := content.read(CHUNK_BYTES):
            # Zeros become holes.
            if chunk.count(0) != len(chunk):
                view = memoryview(chunk)
                while view:
                    written = os.pwrite(file, view, at)
                    view, at = view[written:], at + written
            else:
                at += len(chunk)
        if at != node.size:
            raise UsageError(f"{path!r} has {at} bytes, not {node.size}")
        os.ftruncate(file, at)
        _dress(file, node)
    finally:
        os.close(file)


def _dress(file: int, node: Node) -> None:
    # In this order: a change of owner takes set-user-ID bits and capabilities away.
    os.fchown(file, node.uid, node.gid)
    os.fchmod(file, node.mode)
    for name, value in node.xattrs.items():
        os.setxattr(file, name, value)
    os.utime(file, (node.mtime, node.mtime))
