"""The program that imports: ``python -m banger.host.tree_import ORDER DIRECTORY``.

A process of its own, for what it reads may be hostile, and so that it can be ended. ORDER is
an `ImportOrder` as JSON. Progress is "step: NAME" on stdout, as recipes tell it. It leaves
``root.ext4``, ``work-seed.ext4`` and ``build.json`` (`ImportFacts`), or ``error.json``.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from types import FrameType

import msgspec

from banger.host import ext4, ext4_tree
from banger.host.archive import DAMAGED, Budget, Source, digest_of, open_file
from banger.host.image_files import ROOT, WORK_SEED
from banger.host.oci import read_image
from banger.host.oci_blobs import ArchiveBlobs, Blobs, DirectoryBlobs
from banger.host.tree import Kind, Tree, add_standard_directories, find_program
from banger.host.tree_disk import check_space, content_bytes, disk_size, make_root, make_work_seed
from banger.host.tree_read import read_tree
from banger.host.tree_write import write_tree
from banger.kernel.errors import BangerError, ErrorReply, HostNotReady, UsageError
from banger.model.image import ImageInit, ImageProcess, ImportFormat
from banger.model.sizes import GIB

MEMORY_BYTES_MAX = 4 * GIB
"""A header of an archive may claim any length, and is read into memory."""
ERROR = "error.json"
FACTS = "build.json"


class ImportOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: ImportFormat
    path: str
    max_bytes: int
    size_bytes: int = 0
    """0: what suits the content."""
    reference: str = ""
    init: ImageInit | None = None
    """None: what suits the image."""


class ImportFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    distribution: str
    digest: str
    init: ImageInit
    process: ImageProcess | None
    kernel: str = ""
    """Not its own: the daemon knows whose it gets."""


def import_image(order: ImportOrder, directory: Path) -> ImportFacts:
    """Raises `UsageError`, `NotFound`, `HostNotReady`, OSError."""
    os.umask(0o022)
    _step("read")
    path = Path(order.path)
    if order.format is ImportFormat.TAR:
        with open_file(path) as file:
            digest = digest_of(file)
        source = Source(path.name, lambda: open_file(path), digest)
        return _import(order, directory, [source], digest, None)
    with closing(_blobs(path, Budget(order.max_bytes))) as blobs:
        image = read_image(blobs, order.reference)
        return _import(order, directory, image.layers, image.digest, image.process)


def _blobs(path: Path, budget: Budget) -> Blobs:
    if path.is_dir() and not path.is_symlink():
        return DirectoryBlobs(path)
    return ArchiveBlobs(path, budget)


def _import(
    order: ImportOrder,
    directory: Path,
    sources: Sequence[Source],
    digest: str,
    process: ImageProcess | None,
) -> ImportFacts:
    tree = read_tree(sources, Budget(order.max_bytes), layers=order.format is ImportFormat.OCI)
    _check_format(tree, order)
    init = _init_of(tree, order, process)
    add_standard_directories(tree, *filter(None, [process.workdir.strip("/")] if process else []))
    size = disk_size(tree, order.size_bytes)
    check_space(directory, content_bytes(tree))
    work = directory / "tree"
    work.mkdir(mode=0o700)
    try:
        _step("unpack")
        top = os.open(work, os.O_RDONLY | os.O_DIRECTORY)
        try:
            write_tree(tree, sources, top, Budget(order.max_bytes))
        finally:
            os.close(top)
        _step("make root.ext4")
        make_root(tree, work, size, directory / ROOT)
        _step("make work-seed.ext4")
        make_work_seed(tree, work, directory / WORK_SEED)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    skipped = sum(node.kind is Kind.SPECIAL for _, node in tree.walk())
    if skipped:
        sys.stderr.write(f"{skipped} devices, pipes and sockets were left out\n")
    return ImportFacts(_distribution(directory / ROOT), digest, init, process)


def _check_format(tree: Tree, order: ImportOrder) -> None:
    if order.format is not ImportFormat.TAR:
        return
    top = tree.root.children.keys()
    if "oci-layout" in top or "manifest.json" in top:
        raise UsageError(
            f"{order.path} is an image in layers, not a root file system",
            hint=f"'banger image import oci {order.path}'",
        )
    if not {"bin", "sbin", "usr", "etc"} & top:
        raise UsageError(
            f"{order.path} is no root file system: it has none of bin, sbin, usr, etc at its top"
        )


def _init_of(tree: Tree, order: ImportOrder, process: ImageProcess | None) -> ImageInit:
    """A container runs its own process and no init, unless that process is the init."""
    inits = {find_program(tree, path) for path in ext4_tree.INITS} - {None}
    if order.init is ImageInit.IMAGE and not inits:
        raise UsageError(f"it has no init: none of {', '.join(ext4_tree.INITS)}")
    if order.init is not None:
        return order.init
    if process is not None and process.argv:
        return ImageInit.IMAGE if find_program(tree, process.argv[0]) in inits else ImageInit.AGENT
    return ImageInit.IMAGE if inits else ImageInit.AGENT


def _distribution(root: Path) -> str:
    file = ext4.open_image(root)
    try:
        return ext4_tree.distribution(ext4_tree.Tree(file, ext4.read_superblock(file, root)))
    except ValueError:
        return "unknown"
    finally:
        os.close(file)


def _step(name: str) -> None:
    sys.stdout.write(f"step: {name}\n")
    sys.stdout.flush()


def _end(number: int, frame: FrameType | None) -> None:
    """So that what was unpacked is removed, also in a user namespace."""
    raise SystemExit(128 + number)


def main() -> int:
    text, target = sys.argv[1:]
    directory = Path(target)
    signal.signal(signal.SIGTERM, _end)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
    order = msgspec.json.decode(text, type=ImportOrder)
    try:
        facts = import_image(order, directory)
    except OSError as error:
        failure: BangerError = HostNotReady(f"{order.path} can't be imported: {error}")
    except DAMAGED as error:
        failure = UsageError(f"{order.path} is damaged: {error}")
    except MemoryError:
        failure = UsageError(f"{order.path} needs more memory than any image should")
    except BangerError as error:
        failure = error
    else:
        (directory / FACTS).write_bytes(msgspec.json.encode(facts))
        return 0
    (directory / ERROR).write_bytes(msgspec.json.encode(ErrorReply.of(failure)))
    sys.stderr.write(f"{ErrorReply.of(failure).message}\n")
    return failure.exit_code


if __name__ == "__main__":
    sys.exit(main())
