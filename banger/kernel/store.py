"""Records on disk: one directory a thing, one ``record.json`` in it.

Written to a temporary file, fsynced, renamed, directory fsynced: a reader sees the old or
the new record, never half of one. The file is ``{"version": N, "record": {…}}``. A record
that can't be read, or is of a newer version, is *quarantined*: left untouched, reported,
its key not to be used again until somebody has looked.

Everything here blocks; the daemon calls it in threads.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from banger.kernel.errors import CorruptRecord, HostNotReady

T = TypeVar("T", bound=msgspec.Struct)
Migration = Callable[[Any], Any]

RECORD = "record.json"
RECORD_LIMIT_BYTES = 1 << 20


class _Versioned(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    record: Any


class RecordStore(Generic[T]):
    """The records of one type under ``root``.

    ``migrations[n]`` turns the plain data of version n into that of version n + 1.
    """

    def __init__(
        self,
        root: Path,
        record_type: type[T],
        *,
        version: int = 1,
        migrations: Mapping[int, Migration] | None = None,
        key_of: Callable[[T], str] | None = None,
    ) -> None:
        """``key_of`` tells the key that a record itself claims; the copy of one is quarantined."""
        self.root = root
        self._key_of = key_of
        self._type = record_type
        self._version = version
        self._migrations = dict(migrations or {})

    def directory(self, key: str) -> Path:
        return self.root / key

    def save(self, key: str, record: T) -> None:
        """Write the record durably, making its directory when needed.

        Raises `HostNotReady` when that can't be done; then the old record is still there.
        """
        directory = self.directory(key)
        document = _Versioned(self._version, msgspec.to_builtins(record))
        data = msgspec.json.format(msgspec.json.encode(document))
        made = not directory.exists()
        try:
            directory.mkdir(mode=0o711, parents=True, exist_ok=True)
            try:
                write_durably(directory / RECORD, data)
            except BaseException:
                if made:
                    directory.rmdir()
                raise
            if made:
                sync_directory(self.root)
        except OSError as error:
            raise HostNotReady(
                f"{directory / RECORD} can't be written: {error.strerror}",
                hint="is the disk full?" if error.errno == errno.ENOSPC else "",
            ) from error

    def load(self, key: str) -> T:
        """Read one record. Raises FileNotFoundError or `CorruptRecord`."""
        return self._read(key)[0]

    def _read(self, key: str) -> tuple[T, int]:
        """The record, and the version it is of on disk."""
        path = self.directory(key) / RECORD
        try:
            with open(path, "rb", opener=_open_record) as file:
                data = file.read(RECORD_LIMIT_BYTES + 1)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise self._corrupt(path, error.strerror or repr(error)) from error
        if len(data) > RECORD_LIMIT_BYTES:
            raise self._corrupt(path, f"larger than {RECORD_LIMIT_BYTES} bytes")
        try:
            document = msgspec.json.decode(data, type=_Versioned)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise self._corrupt(path, str(error)) from error
        if not 1 <= document.version <= self._version:
            raise self._corrupt(
                path, f"version {document.version}, this banger reads up to {self._version}"
            )
        plain = document.record
        try:
            for version in range(document.version, self._version):
                plain = self._migrations[version](plain)
            record = msgspec.convert(plain, self._type)
        except Exception as error:  # a migration can stumble over anything
            raise self._corrupt(path, str(error) or repr(error)) from error
        if self._key_of is not None and self._key_of(record) != key:
            raise self._corrupt(path, f"it is the record of {self._key_of(record)!r}")
        return record, document.version

    def load_all(self) -> tuple[dict[str, T], dict[str, CorruptRecord]]:
        """Every readable record by key, and the quarantined ones with the reason."""
        records: dict[str, T] = {}
        quarantined: dict[str, CorruptRecord] = {}
        if not self.root.is_dir():
            return records, quarantined
        for directory in sorted(self.root.iterdir()):
            if not directory.is_dir() or directory.name.startswith("."):
                continue
            try:
                records[directory.name] = self.load(directory.name)
            except FileNotFoundError:
                error = self._corrupt(directory / RECORD, "missing")
                quarantined[directory.name] = error
            except CorruptRecord as error:
                quarantined[directory.name] = error
        return records, quarantined

    def upgrade(self) -> list[str]:
        """Write records of former versions as the present one; returns their keys.

        Those that can't be read stay as they are. Raises `HostNotReady`.
        """
        older = []
        for key, record in self.load_all()[0].items():
            if self._read(key)[1] < self._version:
                self.save(key, record)
                older.append(key)
        return older

    def delete(self, key: str) -> None:
        """Remove the directory with all that is in it; no error when it is gone.

        It is renamed first, so a crash half-way leaves no record without its files.
        """
        directory = self.directory(key)
        doomed = self.root / f".deleting-{key}"
        if doomed.exists():
            shutil.rmtree(doomed)
        try:
            directory.rename(doomed)
        except FileNotFoundError:
            return
        shutil.rmtree(doomed)
        sync_directory(self.root)

    def sweep(self) -> None:
        """Finish deletions that a crash interrupted."""
        for doomed in self.root.glob(".deleting-*"):
            shutil.rmtree(doomed)

    def sweep_unwritten(self) -> None:
        """Remove directories whose first record a crash kept from being written: they are empty.

        Only while nobody else saves here.
        """
        for directory in self.root.glob("[!.]*"):
            with contextlib.suppress(OSError):  # it is not empty, or no directory
                directory.rmdir()

    def _corrupt(self, path: Path, reason: str) -> CorruptRecord:
        return CorruptRecord(
            f"{path} can't be read: {reason}",
            hint="nothing of it was touched; mend the file or move its directory away, "
            "then restart the daemon",
        )


def write_durably(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Replace the file's content atomically and durably."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.unlink(missing_ok=True)  # of a crash
    try:
        with open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sweep_half_written(directory: Path) -> None:
    """Remove what each `write_durably` into this directory left that was killed half-way.

    Only while nobody else writes there.
    """
    for temporary in directory.glob(".*.tmp"):
        temporary.unlink(missing_ok=True)


def _open_record(name: str, flags: int) -> int:
    # No link is followed, and a FIFO does not block.
    return os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
