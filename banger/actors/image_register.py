"""Registering: an image of a file that somebody else made and keeps. Everything here blocks."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import time
from pathlib import Path

import msgspec

from banger.actors.image_catalog import Catalog
from banger.actors.image_orphans import REGISTERING
from banger.host import cpio, ext4, ext4_tree, kernel_file, sparse_tar
from banger.host.image_files import KERNEL, MODULES, WORK_SEED, ImageFiles, host_file, problem_of
from banger.host.work_seed import make_seed
from banger.kernel.errors import Conflict, HostNotReady, NotFound, UsageError
from banger.kernel.message import Request
from banger.model.image import HostFile, ImageRecord, RegisterOutcome, Registration
from banger.model.sizes import show_size

SEED_BYTES_MAX = 1 << 30


class RegisterImage(Request[RegisterOutcome], frozen=True):
    """Paths are absolute; "" is none. Raises what `register` raises."""

    name: str
    rootfs: str
    kernel: str = ""
    modules: str = ""
    work_seed: str = ""


class _Root(msgspec.Struct, frozen=True):
    file: HostFile
    distribution: str


def register(catalog: Catalog, request: RegisterImage) -> RegisterOutcome:
    """Check the files, then note them. They are only read, now and ever.

    Raises `UsageError` and `NotFound` for files that will not do, `Conflict` when the name
    is that of a built image, `HostNotReady` when there is no kernel for it.
    """
    with catalog.changing:
        known = catalog.newest().get(request.name)
        if known is not None and known.registered is None:
            raise Conflict(
                f"image {request.name!r} is one that banger built",
                hint="register the file under another name",
            )
        request = _with_plain_paths(request, catalog)
        root = _check_root(Path(request.rootfs))
        if request.work_seed:
            _check_seed(Path(request.work_seed))
        source = _kernel_source(catalog, request)
        key = _key(catalog, root.file, source, request)
        if known is not None and known.key == key and not _problem(catalog, known):
            return RegisterOutcome(catalog.view(known), False, source.name if source else "")
        image_id = f"{request.name}-{secrets.token_hex(4)}"
        partial = catalog.store.root / f"{REGISTERING}{image_id}"
        try:
            partial.mkdir(mode=0o755)
            version = _lay_kernel(catalog, request, source, partial)
            if request.work_seed:
                _copy(Path(request.work_seed), partial / WORK_SEED)
            else:
                make_seed(Path(request.rootfs), partial)
            record = ImageRecord(
                id=image_id,
                name=request.name,
                recipe="",
                built_at=time.time(),
                root_bytes=root.file.size,
                kernel_version=version,
                distribution=root.distribution,
                key=key,
                registered=Registration(root.file),
            )
            catalog.publish(partial, record)
        except OSError as error:
            raise HostNotReady(f"image {request.name!r} can't be registered: {error}") from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return RegisterOutcome(catalog.view(record), True, source.name if source else "")


def _with_plain_paths(request: RegisterImage, catalog: Catalog) -> RegisterImage:
    paths = (request.rootfs, request.kernel, request.modules, request.work_seed)
    return RegisterImage(
        request.name, *(str(_plain_path(path, catalog)) if path else "" for path in paths)
    )


def _plain_path(text: str, catalog: Catalog) -> Path:
    """The path with the links in its directories resolved; itself it must be no link."""
    path = Path(text)
    os.close(ext4.open_image(path))
    path = path.parent.resolve() / path.name
    if path.is_relative_to(catalog.store.root.resolve()):
        raise UsageError(
            f"{path} is a file of banger's own, which goes with its image",
            hint="register a copy of it",
        )
    return path


def _check_root(path: Path) -> _Root:
    file = ext4.open_image(path)
    try:
        seen = host_file(path, file)
        superblock = ext4.read_superblock(file, path)
        ext4.check_room(superblock, path)
        tree = ext4_tree.Tree(file, superblock)
        try:
            init = ext4_tree.find_init(tree)
            distribution = ext4_tree.distribution(tree)
        except ValueError as error:
            raise UsageError(f"{path} is damaged: {error}", hint="'e2fsck -f' checks it") from None
    finally:
        os.close(file)
    if init is None:
        raise UsageError(
            f"{path} has no init, so no system would start in it",
            hint=f"one of {', '.join(ext4_tree.INITS)} has to be an executable file",
        )
    return _Root(seen, distribution)


def _check_seed(path: Path) -> None:
    file = ext4.open_image(path)
    try:
        size = ext4.read_superblock(file, path).bytes
        if size > SEED_BYTES_MAX:
            raise UsageError(
                f"the work seed {path} has {show_size(size)}, not at most "
                f"{show_size(SEED_BYTES_MAX)}",
                hint="VMs grow their copy of it",
            )
    finally:
        os.close(file)


def _kernel_source(catalog: Catalog, request: RegisterImage) -> ImageRecord | None:
    """The image whose kernel and modules it gets; None when it brings its own."""
    if request.kernel:
        return None
    if request.modules:
        raise UsageError("modules fit one kernel only", hint="give --kernel beside --modules")
    try:
        source = catalog.find(None)
    except NotFound as error:
        raise HostNotReady(
            f"there is no kernel for it: {error.message}",
            hint="give one with --kernel, or build the default image first",
        ) from None
    problem = _problem(catalog, source)
    if problem:
        raise HostNotReady(f"the default image {source.name!r} can't be used: {problem}")
    return source


def _problem(catalog: Catalog, record: ImageRecord) -> str:
    return problem_of(catalog.store.directory(record.id), record)


def _key(
    catalog: Catalog,
    root: HostFile,
    source: ImageRecord | None,
    request: RegisterImage,
) -> str:
    """Tells whether the same was registered already."""
    paths = (request.kernel, request.modules, request.work_seed)
    given = [Path(path) for path in paths if path]
    if source is not None:
        files = ImageFiles.of(catalog.store.directory(source.id))
        given += [files.kernel, files.modules]
    copied = [(status.st_size, status.st_mtime_ns) for status in map(Path.stat, given)]
    known = [root, paths, copied]
    return hashlib.sha256(msgspec.json.encode(known)).hexdigest()


def _lay_kernel(
    catalog: Catalog, request: RegisterImage, source: ImageRecord | None, directory: Path
) -> str:
    """Put kernel and modules into the image's directory; returns the kernel's version."""
    if source is not None:
        files = ImageFiles.of(catalog.store.directory(source.id), source.registered)
        _link_or_copy(files.kernel, directory / KERNEL)
        _link_or_copy(files.modules, directory / MODULES)
        return source.kernel_version
    version = kernel_file.kernel_version(Path(request.kernel))
    _copy(Path(request.kernel), directory / KERNEL)
    if request.modules:
        kernel_file.check_modules(Path(request.modules))
        _copy(Path(request.modules), directory / MODULES)
    else:
        (directory / MODULES).write_bytes(cpio.archive([]))
    return version


def _link_or_copy(source: Path, target: Path) -> None:
    """Nothing of an image is ever written again, so its files may be shared."""
    with contextlib.suppress(OSError):
        os.link(source, target)
        return
    _copy(source, target)


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as reading, target.open("xb") as writing:
        for extent in sparse_tar.extents(reading.fileno()):
            at, end = extent.at, extent.at + extent.size
            writing.seek(at)
            while at < end:
                copied = os.sendfile(writing.fileno(), reading.fileno(), at, end - at)
                if not copied:
                    raise HostNotReady(f"{source} shrank while it was read")
                at += copied
        writing.truncate(os.fstat(reading.fileno()).st_size)
        os.fsync(writing.fileno())
    # The VMM reads it as a user of its own.
    target.chmod(0o644)
