"""An archive written whole or not at all, compressed as its name says."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from banger.kernel.errors import BangerError, Conflict, HostNotReady, UsageError

COMPRESSORS = {
    ".tar": [],
    ".tar.zst": ["zstd", "-q", "-T0", "-c"],
    ".tar.gz": ["gzip", "-c"],
}
_FILE_MODE = 0o666


@contextmanager
def archive_file(path: Path, *, replace: bool) -> Iterator[Callable[[bytes], object]]:
    """A function that writes into the archive. When the body fails nothing is left.

    Raises `UsageError` for another ending, `Conflict` when the file exists unless
    ``replace``, `HostNotReady` without the compressor and when the file can't be written.
    """
    argv = _compressor(path)
    if not replace and os.path.lexists(path):
        raise Conflict(f"{path} exists already", hint="--force replaces it")
    with _telling(path):
        fd, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(fd, "wb", buffering=0) as file:
            if argv:
                with _compressing(argv, file) as pipe:
                    yield pipe.write
            else:
                yield lambda data: _write_whole(file, path, data)
            with _telling(path):
                os.fsync(file.fileno())
        temporary.chmod(_FILE_MODE & ~_umask())
        if replace:
            temporary.replace(path)
        else:
            _name_it(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _telling(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise HostNotReady(
            f"{path} can't be written: {error.strerror or error}",
            hint="is the disk full?" if error.errno == errno.ENOSPC else "",
        ) from error


def _write_whole(file: IO[bytes], path: Path, data: bytes) -> None:
    with _telling(path):
        rest = memoryview(data)
        while rest:
            rest = rest[file.write(rest) :]


def _compressor(path: Path) -> list[str]:
    endings = sorted(COMPRESSORS, key=len, reverse=True)
    ending = next((end for end in endings if path.name.endswith(end)), None)
    if ending is None:
        raise UsageError(
            f"{str(path)!r} does not tell what it is to be",
            hint=f"the name has to end in one of {', '.join(COMPRESSORS)}",
        )
    argv = COMPRESSORS[ending]
    if argv and shutil.which(argv[0]) is None:
        raise HostNotReady(
            f"{argv[0]!r} is not installed", hint=f"install the package {argv[0]}, or use .tar"
        )
    return argv


@contextmanager
def _compressing(argv: list[str], file: IO[bytes]) -> Iterator[IO[bytes]]:
    """What is written into the pipe goes into the file compressed."""
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=file, stderr=subprocess.PIPE)
    assert process.stdin is not None and process.stderr is not None
    try:
        try:
            yield process.stdin
            process.stdin.close()
        except BrokenPipeError:
            pass  # it says why
        said = process.stderr.read().decode(errors="replace").strip()
        if process.wait() != 0:
            raise BangerError(f"{argv[0]} failed: {said or 'no message'}")
    finally:
        if process.returncode is None:
            process.kill()
            process.wait()
        process.stderr.close()
        _close(process.stdin)


def _close(pipe: IO[bytes]) -> None:
    with suppress(BrokenPipeError):
        pipe.close()


def _name_it(temporary: Path, path: Path) -> None:
    """Another file of the name, made meanwhile, is not replaced."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise Conflict(f"{path} exists already", hint="--force replaces it") from None
    except OSError:  # a file system without links
        temporary.replace(path)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
