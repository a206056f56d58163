"""Tarballs from strangers: what is let through, what refuses the whole."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest
from void_samples import make_tar, member

from banger_void.admit import Hostile, admit

LIMIT = 1 << 20
CAPABILITY = "SCHILY.xattr.security.capability"


def admitted(path: Path, limit: int = LIMIT) -> list[tarfile.TarInfo]:
    output = io.BytesIO()
    admit(path, output, limit)
    output.seek(0)
    with tarfile.open(fileobj=output) as tar:
        return tar.getmembers()


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_a_root_file_system_goes_through(tmp_path: Path, mode: str) -> None:
    directory = tarfile.DIRTYPE
    link = tarfile.SYMTYPE
    members = [
        member("./", directory, mode=0o755),
        member("./usr/", directory, mode=0o755),
        member("./usr/bin/", directory, mode=0o755),
        member("./bin", link, linkname="usr/bin"),
        member("./usr/bin/su", mode=0o4755, size=3, uid=7, gid=8, uname="whoever"),
        member("./usr/bin/sg", tarfile.LNKTYPE, linkname="./usr/bin/su"),
        member("./etc/mtab", link, linkname="/proc/self/mounts"),
        member("./etc/runit/runsvdir/default/udevd", link, linkname="../../../sv/udevd"),
        member("./usr/bin/ping", size=1, pax_headers={CAPABILITY: "\1", "comment": "gone"}),
        member("./etc/", directory, mode=0o755),
    ]
    found = {m.name: m for m in admitted(make_tar(tmp_path / "t", members, mode))}
    assert list(found) == [
        ".",
        "usr",
        "usr/bin",
        "bin",
        "usr/bin/su",
        "usr/bin/sg",
        "etc/mtab",
        "etc/runit/runsvdir/default/udevd",
        "usr/bin/ping",
        "etc",
    ]
    su = found["usr/bin/su"]
    assert (su.mode, su.uid, su.gid, su.uname, su.size) == (0o4755, 7, 8, "", 3)
    assert found["usr/bin/sg"].linkname == "usr/bin/su"
    assert found["etc/mtab"].linkname == "/proc/self/mounts"
    assert found["usr/bin/ping"].pax_headers == {CAPABILITY: "\1"}


def test_names_that_are_no_text_stay_as_they_are(tmp_path: Path) -> None:
    name = os.fsdecode(b"etc/\xff\xfe")
    (found,) = admitted(make_tar(tmp_path / "t", [member(name)]))
    assert found.name == name


@pytest.mark.parametrize(
    ("members", "complaint"),
    [
        ([member("/etc/passwd")], "leads out of the root"),
        ([member("../passwd")], "leads out of the root"),
        ([member("etc/../../passwd")], "leads out of the root"),
        ([member("a/b", tarfile.SYMTYPE, linkname="../../c")], "leads out of the root"),
        ([member("a", tarfile.SYMTYPE, linkname="/../c")], "leads out of the root"),
        ([member("a", tarfile.LNKTYPE, linkname="/etc/shadow")], "leads out of the root"),
        ([member("a", tarfile.LNKTYPE, linkname="../shadow")], "leads out of the root"),
        ([member("a", tarfile.LNKTYPE, linkname="etc/shadow")], "no earlier file"),
        (
            [member("d", tarfile.DIRTYPE), member("a", tarfile.LNKTYPE, linkname="d")],
            "no earlier file",
        ),
        (
            [member("a", tarfile.SYMTYPE, linkname="/etc"), member("a/passwd")],
            "lies below 'a', which is no directory",
        ),
        (
            [member("a/b"), member("a", tarfile.SYMTYPE, linkname="/etc")],
            "'a' is there twice",
        ),
        ([member("a"), member("./a")], "'./a' is there twice"),
        ([member("dev/sda", tarfile.BLKTYPE)], "is a device"),
        ([member("dev/null", tarfile.CHRTYPE)], "is a device"),
        ([member("pipe", tarfile.FIFOTYPE)], "is a device, a pipe"),
        ([member("odd", b"Z", size=0)], "unknown type"),
        ([member("a", size=LIMIT), member("b", size=1)], f"larger than {LIMIT} bytes"),
    ],
)
def test_one_hostile_member_refuses_all(
    tmp_path: Path, members: list[tarfile.TarInfo], complaint: str
) -> None:
    tarball = make_tar(tmp_path / "t", [member("innocent", size=1), *members])
    with pytest.raises(Hostile, match=complaint.replace(".", r"\.")):
        admitted(tarball)


def test_a_bomb_is_refused_by_what_it_claims(tmp_path: Path) -> None:
    info = member("zeros", size=1 << 50)
    (tmp_path / "t").write_bytes(info.tobuf() + bytes(1024))
    with pytest.raises(Hostile, match="larger than"):
        admitted(tmp_path / "t")


def test_an_archive_that_goes_on_after_its_end(tmp_path: Path) -> None:
    tarball = make_tar(tmp_path / "t", [member("a")])
    with tarball.open("ab") as file:
        file.write(bytes(2 << 20))
    with pytest.raises(Hostile, match="goes on after its end"):
        admitted(tarball)
