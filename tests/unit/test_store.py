"""Records on disk: old or new, never half; and nothing unreadable stops the others."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from banger.kernel.errors import CorruptRecord, HostNotReady
from banger.kernel.store import (
    RECORD,
    RECORD_LIMIT_BYTES,
    RecordStore,
    sweep_half_written,
    write_durably,
)


class Note(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    text: str
    secret: bytes = b""


@pytest.fixture
def store(tmp_path: Path) -> RecordStore[Note]:
    return RecordStore(tmp_path / "notes", Note)


def write_record(store: RecordStore[Note], key: str, data: bytes) -> Path:
    path = store.directory(key) / RECORD
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_what_was_saved_is_loaded(store: RecordStore[Note]) -> None:
    note = Note("päivää\n", secret=bytes(range(256)))
    store.save("one", note)
    store.save("two", Note("other"))
    store.save("two", Note("newer"))
    assert store.load("one") == note
    assert store.load_all() == ({"one": note, "two": Note("newer")}, {})
    assert names_in(store.directory("two")) == [RECORD]


def test_file_is_private_versioned_and_readable_by_people(store: RecordStore[Note]) -> None:
    store.save("one", Note("x"))
    path = store.directory("one") / RECORD
    assert path.stat().st_mode & 0o777 == 0o600
    assert json.loads(path.read_text()) == {"version": 1, "record": {"text": "x", "secret": ""}}
    assert len(path.read_text().splitlines()) > 3


def test_missing_record_and_missing_root(store: RecordStore[Note]) -> None:
    with pytest.raises(FileNotFoundError):
        store.load("none")
    assert store.load_all() == ({}, {})
    store.delete("none")
    store.sweep()


# --- what can't be read ---

BAD_FILES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "truncated"),
    "truncated": (b'{"version": 1, "record": {"te', "truncated"),
    "garbage": (bytes(range(256)), "malformed"),
    "zeros": (bytes(4096), "malformed"),
    "not utf-8": (b'{"version": 1, "record": {"text": "\xff"}}', "utf-8"),
    "bottomless": (b"[" * 500_000, "object"),
    "bottomless record": (b'{"version": 1, "record": ' + b"[" * 500_000, "recursion"),
    "too large": (b" " * (RECORD_LIMIT_BYTES + 1), "larger than"),
    "of the future": (b'{"version": 2, "record": {"text": "x"}}', "version 2"),
    "of no version": (b'{"record": {"text": "x"}}', "version"),
    "of version 0": (b'{"version": 0, "record": {"text": "x"}}', "version 0"),
    "of version -1": (b'{"version": -1, "record": {"text": "x"}}', "version -1"),
    "of another type": (b'{"version": 1, "record": {"text": 5}}', "text"),
    "with an unknown field": (b'{"version": 1, "record": {"text": "", "x": 1}}', "unknown"),
    "no object": (b"null", "object"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_bad_file_is_quarantined_untouched(kind: str, store: RecordStore[Note]) -> None:
    data, reason = BAD_FILES[kind]
    store.save("good", Note("fine"))
    path = write_record(store, "bad", data)
    with pytest.raises(CorruptRecord, match=reason) as caught:
        store.load("bad")
    assert str(path) in caught.value.message
    assert caught.value.hint
    records, quarantined = store.load_all()
    assert records == {"good": Note("fine")}
    assert list(quarantined) == ["bad"]
    assert path.read_bytes() == data


def linked(path: Path) -> None:
    elsewhere = path.parent.parent.parent / "elsewhere.json"
    elsewhere.write_bytes(b'{"version": 1, "record": {"text": "planted"}}')
    path.symlink_to(elsewhere)


@pytest.mark.parametrize("make", [linked, os.mkdir, os.mkfifo], ids=["link", "directory", "FIFO"])
def test_record_that_is_no_file_is_quarantined(
    make: Callable[[Path], None], store: RecordStore[Note]
) -> None:
    store.save("good", Note("fine"))
    store.directory("bad").mkdir()
    make(store.directory("bad") / RECORD)
    open_files = len(names_in(Path("/proc/self/fd")))
    with pytest.raises(CorruptRecord):
        store.load("bad")
    assert len(names_in(Path("/proc/self/fd"))) == open_files
    records, quarantined = store.load_all()
    assert (list(records), list(quarantined)) == (["good"], ["bad"])


def test_directory_without_a_record_is_quarantined(store: RecordStore[Note]) -> None:
    store.directory("bad").mkdir(parents=True)
    _, quarantined = store.load_all()
    assert "missing" in quarantined["bad"].message


def test_stray_files_and_hidden_directories_are_no_records(store: RecordStore[Note]) -> None:
    store.root.mkdir()
    (store.root / "lock").touch()
    (store.root / ".deleting-one").mkdir()
    assert store.load_all() == ({}, {})


# --- versions ---


def test_old_record_is_migrated_step_by_step(tmp_path: Path) -> None:
    migrations: dict[int, Callable[[Any], Any]] = {
        1: lambda plain: {"body": plain["b"]},
        2: lambda plain: {"text": plain["body"] + "!"},
    }
    store = RecordStore(tmp_path, Note, version=3, migrations=migrations)
    write_record(store, "v1", b'{"version": 1, "record": {"b": "one"}}')
    write_record(store, "v2", b'{"version": 2, "record": {"body": "two"}}')
    write_record(store, "v3", b'{"version": 3, "record": {"text": "three"}}')
    records, quarantined = store.load_all()
    assert records == {"v1": Note("one!"), "v2": Note("two!"), "v3": Note("three")}
    assert quarantined == {}
    write_record(store, "bad", b"{")
    assert store.upgrade() == ["v1", "v2"]
    assert store.upgrade() == []
    assert store.load_all()[0] == records
    for key in records:
        assert b'"version": 3' in (store.directory(key) / RECORD).read_bytes()
    assert (store.directory("bad") / RECORD).read_bytes() == b"{"


@pytest.mark.parametrize("record", [b"{}", b"null", b"[]", b'{"b": 7}', b'"text"'])
def test_migration_that_stumbles_quarantines(record: bytes, tmp_path: Path) -> None:
    store = RecordStore(tmp_path, Note, version=2, migrations={1: lambda p: {"text": p["b"] + ""}})
    write_record(store, "bad", b'{"version": 1, "record": ' + record + b"}")
    assert list(store.load_all()[1]) == ["bad"]


def test_version_without_a_migration_quarantines(tmp_path: Path) -> None:
    store = RecordStore(tmp_path, Note, version=2)
    write_record(store, "bad", b'{"version": 1, "record": {"text": ""}}')
    assert list(store.load_all()[1]) == ["bad"]


def test_copy_of_a_record_is_quarantined(tmp_path: Path) -> None:
    store = RecordStore(tmp_path, Note, key_of=lambda note: note.text)
    store.save("one", Note("one"))
    write_record(store, "two", (store.directory("one") / RECORD).read_bytes())
    records, quarantined = store.load_all()
    assert records == {"one": Note("one")}
    assert "it is the record of 'one'" in quarantined["two"].message


# --- writes that fail ---


def test_failed_replace_leaves_the_old_record(
    store: RecordStore[Note], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, "as asked")

    store.save("one", Note("old"))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", refuse)
        with pytest.raises(HostNotReady, match="as asked"):
            store.save("one", Note("new"))
        with pytest.raises(HostNotReady, match="as asked"):
            store.save("two", Note("new"))
    assert names_in(store.directory("one")) == [RECORD]
    assert store.load_all() == ({"one": Note("old")}, {})
    store.save("two", Note("new"))


def test_full_disk_leaves_the_old_record(store: RecordStore[Note]) -> None:
    store.save("one", Note("old"))
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from tests.unit.test_store import save_under_a_limit\n"
        "save_under_a_limit(Path(sys.argv[1]))\n"
    )
    tree = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", program, store.root], cwd=tree, check=True, timeout=20)
    assert store.load_all() == ({"one": Note("old")}, {})
    assert names_in(store.root) == ["one"]
    assert names_in(store.directory("one")) == [RECORD]


def save_under_a_limit(root: Path) -> None:
    """In a process of its own: no file may grow past 64 KiB."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 10, 64 << 10))
    store = RecordStore(root, Note)
    for key in ("one", "two"):
        with pytest.raises(HostNotReady, match="File too large"):
            store.save(key, Note("x" * (128 << 10)))


def test_record_that_does_not_encode_changes_nothing(store: RecordStore[Note]) -> None:
    with pytest.raises(UnicodeEncodeError):
        store.save("one", Note("\udcff"))
    assert not store.directory("one").exists()


def test_readers_see_whole_records_while_one_writes(store: RecordStore[Note]) -> None:
    notes = [Note(letter * 20_000) for letter in "ab"]
    store.save("one", notes[0])
    done = threading.Event()

    def write() -> None:
        for turn in range(60):
            store.save("one", notes[turn % 2])
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        assert store.load("one") in notes
    writer.join()


# --- what a crash leaves behind ---


def test_leftover_temporary_file_is_replaced_not_followed(
    store: RecordStore[Note], tmp_path: Path
) -> None:
    store.save("one", Note("old"))
    precious = tmp_path / "precious"
    precious.write_text("keep")
    temporary = store.directory("one") / f".{RECORD}.tmp"
    temporary.symlink_to(precious)
    assert store.load("one") == Note("old")
    store.save("one", Note("new"))
    assert store.load("one") == Note("new")
    assert precious.read_text() == "keep"

    temporary.write_bytes(b"half a rec")
    temporary.chmod(0o666)
    store.save("one", Note("newer"))
    assert names_in(store.directory("one")) == [RECORD]
    assert (store.directory("one") / RECORD).stat().st_mode & 0o777 == 0o600


def test_delete_removes_all_of_it(store: RecordStore[Note]) -> None:
    store.save("one", Note("x"))
    (store.directory("one") / "disk").mkdir()
    (store.directory("one") / "disk" / "root.qcow2").write_bytes(b"data")
    store.save("two", Note("y"))
    store.delete("one")
    store.delete("one")
    assert names_in(store.root) == ["two"]


def half_deleted(store: RecordStore[Note], key: str) -> None:
    """As after a crash in the middle of a deletion."""
    store.save(key, Note("old"))
    (store.directory(key) / "disk").write_bytes(b"data")
    store.directory(key).rename(store.root / f".deleting-{key}")


def test_interrupted_delete_can_be_repeated_or_swept(store: RecordStore[Note]) -> None:
    half_deleted(store, "one")
    half_deleted(store, "two")
    assert store.load_all() == ({}, {})
    store.delete("one")
    assert names_in(store.root) == [".deleting-two"]
    store.sweep()
    assert names_in(store.root) == []


def test_key_used_again_after_an_interrupted_delete(store: RecordStore[Note]) -> None:
    half_deleted(store, "one")
    store.save("one", Note("new"))
    assert store.load("one") == Note("new")
    store.delete("one")
    assert names_in(store.root) == []


def test_write_durably_sets_the_mode(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_durably(path, b"one", mode=0o640)
    write_durably(path, b"two", mode=0o600)
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_was_half_written_is_swept_and_nothing_else(tmp_path: Path) -> None:
    write_durably(tmp_path / "kept", b"kept")
    (tmp_path / ".kept.tmp").write_bytes(b"ke")
    (tmp_path / "mine.tmp").write_bytes(b"mine")
    sweep_half_written(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "mine.tmp"]


def test_a_directory_whose_first_record_was_not_written_is_swept(tmp_path: Path) -> None:
    store = RecordStore(tmp_path, Note)
    store.save("kept", Note("kept"))
    (tmp_path / "empty").mkdir()
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "disk").touch()
    (tmp_path / ".making").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / ".making")
    store.sweep_unwritten()
    assert {path.name for path in tmp_path.iterdir()} == {"files", "kept", ".making", "link"}
