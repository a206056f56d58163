"""``vm cp``: what goes in, what comes out, and guests that lie."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from banger.client.connection import Connection
from banger.client.transfer import DEPTH_LIMIT, GuestPlace, Transfer, parse_place
from banger.kernel.errors import BangerError, NotFound, UsageError
from banger.model.requests.files import DirectoryEntry, FileInfo, ListDirectory, Listing
from tests.unit.fake_daemon import GuestFiles, serving

BIG = bytes(range(256)) * 4000


class Copying:
    """A transfer, the guest's files, and an empty directory here."""

    def __init__(self, transfer: Transfer, guest: GuestFiles, here: Path) -> None:
        self.transfer = transfer
        self.guest = guest
        self.here = here

    def up(self, source: Path, target: str) -> None:
        self.transfer.upload(source, place(target))

    def down(self, source: str, target: Path) -> None:
        self.transfer.download(place(source), target)

    def file(self, name: str, data: bytes = b"data", mode: int = 0o644) -> Path:
        path = self.here / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(mode)
        return path

    @property
    def found(self) -> dict[str, bytes | None]:
        """All that is here; None is a directory."""
        return {
            str(path.relative_to(self.here)): None if path.is_dir() else path.read_bytes()
            for path in self.here.rglob("*")
        }


def place(text: str) -> GuestPlace:
    parsed = parse_place(f"vm:{text}")
    assert isinstance(parsed, GuestPlace)
    return parsed


@pytest.fixture
def copying(tmp_path: Path) -> Iterator[Copying]:
    guest = GuestFiles()
    here = tmp_path / "here"
    here.mkdir()
    path = tmp_path / "socket"
    with serving(path, guest.answer, guest), Connection(path) as connection:
        yield Copying(Transfer(connection, "user"), guest, here)


# --- places ---


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("web-1:/root/x", GuestPlace("web-1", PurePosixPath("/root/x"), False)),
        ("web-1:/root/", GuestPlace("web-1", PurePosixPath("/root"), True)),
        ("a:/", GuestPlace("a", PurePosixPath("/"), True)),
        ("a:/b:c", GuestPlace("a", PurePosixPath("/b:c"), False)),
        ("file", Path("file")),
        ("./a:/b", Path("./a:/b")),
        ("/a:b", Path("/a:b")),
    ],
)
def test_places(text: str, expected: object) -> None:
    assert parse_place(text) == expected


@pytest.mark.parametrize("text", ["", "web-1:x", "web-1:", "Web:/x", ":/x", "we b:/x", "-a:/x"])
def test_places_that_are_none(text: str) -> None:
    with pytest.raises(UsageError):
        parse_place(text)


# --- to the guest ---


@pytest.mark.parametrize("data", [b"", b"x", BIG])
def test_file_up(data: bytes, copying: Copying) -> None:
    copying.up(copying.file("file", data, 0o751), "/name")
    assert copying.guest.files == {"/name": (0o751, data)}
    assert copying.guest.written["/name"].user == "user"
    assert copying.transfer.report.bytes == len(data)


def test_up_into_a_directory(copying: Copying) -> None:
    copying.guest.directories["/opt"] = 0o755
    source = copying.file("file")
    copying.up(source, "/opt")
    copying.up(source, "/new/")
    assert copying.guest.files.keys() == {"/opt/file", "/new/file"}


def test_tree_up(copying: Copying) -> None:
    copying.file("tree/a")
    copying.file("tree/sub/b", mode=0o600)
    (copying.here / "tree" / "link").symlink_to("/etc/passwd")
    (copying.here / "tree" / "loop").symlink_to("..")
    os.mkfifo(copying.here / "tree" / "fifo")
    copying.up(copying.here / "tree", "/t")
    assert copying.guest.files == {"/t/a": (0o644, b"data"), "/t/sub/b": (0o600, b"data")}
    assert copying.guest.directories.keys() == {"/", "/t", "/t/sub"}
    report = copying.transfer.report
    assert (report.files, report.directories) == (2, 2)
    assert [Path(path).name for path in report.skipped] == ["fifo", "link", "loop"]


def test_nothing_to_send(copying: Copying) -> None:
    with pytest.raises(NotFound):
        copying.up(copying.here / "missing", "/x")
    fifo = copying.here / "fifo"
    os.mkfifo(fifo)
    with pytest.raises(UsageError, match="neither"):
        copying.up(fifo, "/x")


# --- from the guest ---


@pytest.mark.parametrize("data", [b"", b"x", BIG])
def test_file_down(data: bytes, copying: Copying) -> None:
    copying.guest.files["/f"] = (0o6755, data)
    copying.down("/f", copying.here / "copy")
    copying.down("/f", copying.here)
    assert copying.found == {"copy": data, "f": data}
    # No set-user-ID from a guest.
    assert (copying.here / "copy").stat().st_mode & 0o7777 == 0o755


def test_tree_down(copying: Copying) -> None:
    copying.guest.directories |= {"/t": 0o755, "/t/sub": 0o700}
    long = "n" * 255
    copying.guest.files |= {"/t/a": (0o644, b"a"), f"/t/sub/{long}": (0o600, b"b")}
    copying.down("/t", copying.here)
    copying.down("/t", copying.here / "t2")
    assert copying.found == {
        **{"t": None, "t/a": b"a", "t/sub": None, f"t/sub/{long}": b"b"},
        **{"t2": None, "t2/a": b"a", "t2/sub": None, f"t2/sub/{long}": b"b"},
    }


def test_missing_file_leaves_nothing(copying: Copying) -> None:
    copying.file("copy", b"precious")
    for _ in range(2):
        with pytest.raises(NotFound):
            copying.down("/missing", copying.here / "copy")
    assert copying.found == {"copy": b"precious"}


def test_links_and_special_files_are_left_out(copying: Copying) -> None:
    kinds = ["symlink", "other", "socket", "\x1b[2J"]
    copying.guest.listings["/t"] = [
        DirectoryEntry(kind, FileInfo(kind, 0o777, 1)) for kind in kinds
    ]
    copying.down("/t", copying.here / "t")
    assert copying.found == {"t": None}
    assert copying.transfer.report.skipped == [f"vm:/t/{kind}" for kind in kinds]


def test_guest_that_lies_about_a_size(copying: Copying) -> None:
    def lie(request: object) -> Iterator[object]:
        if isinstance(request, ListDirectory):
            raise UsageError("no directory")
        yield FileInfo("file", 0o644, 5)

    path = copying.here.parent / "liar"
    said = "5 bytes, but 0 came"
    with serving(path, lie), Connection(path) as daemon, pytest.raises(BangerError, match=said):
        Transfer(daemon, "root").download(place("/f"), copying.here / "copy")
    assert copying.found == {}


def test_guest_whose_directories_never_end(copying: Copying) -> None:
    def deeper(request: object) -> Iterator[object]:
        yield Listing([DirectoryEntry("d", FileInfo("directory", 0o755, 0))])
        yield None

    path = copying.here.parent / "deep"
    with (
        serving(path, deeper) as daemon,
        Connection(path) as connection,
        pytest.raises(BangerError, match=f"deeper than {DEPTH_LIMIT}"),
    ):
        Transfer(connection, "root").download(place("/d"), copying.here / "d")
    assert len(daemon.requests) <= DEPTH_LIMIT + 3


def test_guest_that_says_a_name_is_both(copying: Copying) -> None:
    copying.guest.files["/t/a"] = (0o644, b"a")
    copying.guest.directories["/t/a"] = 0o755
    copying.guest.listings |= {
        "/t": [
            DirectoryEntry("a", FileInfo("directory", 0o755, 0)),
            DirectoryEntry("a", FileInfo("file", 0o644, 1)),
        ],
        "/t/a": [DirectoryEntry("link", FileInfo("symlink", 0o777, 1))],
    }
    with pytest.raises(UsageError, match="is no regular file"):
        copying.down("/t", copying.here / "t")
    assert copying.found == {"t": None, "t/a": None}


def test_what_stands_in_the_way_here(copying: Copying) -> None:
    copying.guest.files["/f"] = (0o644, b"from the guest")
    secret = copying.file("secret", b"untouched")
    (copying.here / "link").symlink_to(secret)
    copying.down("/f", copying.here / "link")
    assert secret.read_bytes() == b"untouched"
    assert not (copying.here / "link").is_symlink()
    with pytest.raises(NotFound, match="there is no directory"):
        copying.down("/f", copying.here / "missing" / "f")
    with pytest.raises(NotFound, match="there is no directory"):
        copying.down("/f", secret / "f")
