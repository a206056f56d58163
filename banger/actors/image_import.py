"""Importing: an image of a root tarball or an OCI image. Everything here blocks.

What is unpacked comes from `banger.host.tree_import`, a program of its own; kernel and modules
are the default image's.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from banger.actors.image_catalog import Catalog
from banger.host.image_files import KERNEL, MODULES, ImageFiles, problem_of
from banger.host.tree_import import ERROR, FACTS, ImportFacts, ImportOrder
from banger.kernel.errors import (
    BangerError,
    CommandFailed,
    Conflict,
    ErrorReply,
    HostNotReady,
    NotFound,
    UsageError,
)
from banger.kernel.message import Request
from banger.kernel.wire import BAD_BYTES
from banger.model.image import BuildOutcome, ImageRecord, ImportFormat, ImportSource


class ImportImage(Request[BuildOutcome], frozen=True):
    """As `BuildImage`. Raises `UsageError` for what is not let in."""

    name: str
    order: ImportOrder
    force: bool = False


class ImportWork:
    """A `Work` for `Builds`."""

    def __init__(self, catalog: Catalog, order: ImportOrder) -> None:
        """Raises `UsageError`, `NotFound` for a path that can't be meant; `HostNotReady`."""
        self.label = f"{order.format}:{order.path}"
        self._order = msgspec.structs.replace(order, path=str(_plain_path(order, catalog)))
        self._kernel = _kernel_source(catalog)
        self._files = ImageFiles.of(catalog.store.directory(self._kernel.id))

    def check(self, known: ImageRecord | None) -> None:
        if known is not None and known.imported is None:
            raise Conflict(
                f"image {known.name!r} is there, and was not imported",
                hint=f"choose another name, or 'banger image delete {known.name}' first",
            )

    def key(self) -> str:
        path = Path(self._order.path)
        if path.is_dir():
            # All else in a layout goes by its digest.
            seen: object = (path / "index.json").read_bytes()
        else:
            status = path.stat()
            seen = (status.st_size, status.st_mtime_ns)
        known = (self._order, seen, self._kernel.id)
        return hashlib.sha256(msgspec.json.encode(known)).hexdigest()

    def argv(self, directory: Path) -> list[str]:
        # In a user namespace the files have the owners they should have, as for recipes.
        namespace = ["unshare", "--user", "--map-root-user", "--map-auto", "--"]
        program = [sys.executable, "-m", "banger.host.tree_import"]
        order = msgspec.json.encode(self._order).decode()
        return [*(namespace if os.geteuid() else []), *program, order, str(directory)]

    def prepare(self, directory: Path) -> None:
        for source, name in ((self._files.kernel, KERNEL), (self._files.modules, MODULES)):
            # Nothing of an image is ever written again, so its files may be shared.
            with contextlib.suppress(OSError):
                os.link(source, directory / name)
                continue
            shutil.copyfile(source, directory / name)

    def describe(self, directory: Path, record: ImageRecord) -> ImageRecord:
        facts = msgspec.json.decode((directory / FACTS).read_bytes(), type=ImportFacts)
        return msgspec.structs.replace(
            record,
            kernel_version=self._kernel.kernel_version,
            imported=ImportSource(self._order.format, self._order.path, facts.digest),
            init=facts.init,
            process=facts.process,
        )

    def failure(
        self, directory: Path, argv: Sequence[str], code: int, words: str, hint: str
    ) -> BangerError:
        try:
            said = msgspec.json.decode((directory / ERROR).read_bytes(), type=ErrorReply)
        except (OSError, *BAD_BYTES):
            return CommandFailed(argv, code, words, hint=hint)
        return said.to_error()


def _plain_path(order: ImportOrder, catalog: Catalog) -> Path:
    """The path with the links in its directories resolved; itself it must be no link."""
    path = Path(order.path)
    if not path.is_absolute() or ".." in path.parts or not order.path.isprintable():
        raise UsageError(f"{order.path[:80]!r} is not an absolute path without '..'")
    path = path.parent.resolve() / path.name
    try:
        mode = path.stat(follow_symlinks=False).st_mode
    except OSError as error:
        raise NotFound(f"{str(path)!r} on the daemon's host: {error.strerror}") from None
    if not stat.S_ISREG(mode) and not (stat.S_ISDIR(mode) and order.format is ImportFormat.OCI):
        wanted = "a file" if order.format is ImportFormat.TAR else "a file or a directory"
        raise UsageError(f"{path} is not {wanted}", hint="name the file itself, not a link to it")
    if path.is_relative_to(catalog.store.root.resolve()):
        raise UsageError(f"{path} is one of banger's own files")
    return path


def _kernel_source(catalog: Catalog) -> ImageRecord:
    """The image whose kernel and modules it gets."""
    try:
        source = catalog.find(None)
    except NotFound as error:
        raise HostNotReady(
            f"there is no kernel for it: {error.message}", hint="build the default image first"
        ) from None
    problem = problem_of(catalog.store.directory(source.id), source)
    if problem:
        raise HostNotReady(f"the default image {source.name!r} can't be used: {problem}")
    return source
