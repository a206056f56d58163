"""``vm cp``: files and trees, both ways."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from tests.vm.instance import Instance

BIG_BYTES = 50 << 20


@pytest.fixture
def place(instance: Instance, box: str) -> str:
    """An empty directory in the guest."""
    instance.sh(box, "rm -rf /var/tmp/cp && mkdir /var/tmp/cp")
    return "/var/tmp/cp"


def test_a_file_with_its_mode_both_ways(
    instance: Instance, box: str, place: str, tmp_path: Path
) -> None:
    here = tmp_path / "script"
    here.write_bytes(b"#!/bin/sh\necho \xff\x00 ran\n")
    here.chmod(0o754)
    done = instance.run("vm", "cp", str(here), f"{box}:{place}/there")
    assert done.stdout.startswith("copied 1 file")
    assert instance.sh(box, f"stat -c '%a %U %s' {place}/there") == "754 root 22\n"

    report = instance.json("vm", "cp", f"{box}:{place}/there", str(tmp_path / "back"))
    assert (report["files"], report["bytes"], report["skipped"]) == (1, 22, [])
    assert (tmp_path / "back").read_bytes() == here.read_bytes()
    assert (tmp_path / "back").stat().st_mode & 0o7777 == 0o754


def test_a_big_file_both_ways(instance: Instance, box: str, place: str, tmp_path: Path) -> None:
    big = tmp_path / "big"
    data = os.urandom(1 << 20) * (BIG_BYTES >> 20)
    big.write_bytes(data)
    wanted = hashlib.sha256(data).hexdigest()
    instance.run("vm", "cp", str(big), f"{box}:{place}/")
    assert instance.sh(box, f"sha256sum < {place}/big").split()[0] == wanted
    instance.run("vm", "cp", f"{box}:{place}/big", str(tmp_path / "again"))
    assert hashlib.sha256((tmp_path / "again").read_bytes()).hexdigest() == wanted


def test_a_tree_both_ways(instance: Instance, box: str, place: str, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "a/b").mkdir(parents=True)
    (tree / "a/b/deep file ü").write_text("deep")
    (tree / "empty").mkdir()
    (tree / "none").write_text("")
    (tree / "link").symlink_to("/etc/passwd")
    report = instance.json("vm", "cp", str(tree), f"{box}:{place}")
    assert (report["files"], report["directories"]) == (2, 4)
    assert report["skipped"] == [str(tree / "link")]
    assert instance.sh(box, f"cat '{place}/tree/a/b/deep file ü'") == "deep"
    assert instance.sh(box, f"ls -A {place}/tree").split() == ["a", "empty", "none"]

    back = tmp_path / "back"
    back.mkdir()
    instance.run("vm", "cp", f"{box}:{place}/tree", str(back))
    found = sorted(str(path.relative_to(back)) for path in back.rglob("*"))
    deep = ["tree/a/b", "tree/a/b/deep file ü"]
    assert found == ["tree", "tree/a", *deep, "tree/empty", "tree/none"]


def test_links_of_the_guest_are_left_out(
    instance: Instance, box: str, place: str, tmp_path: Path
) -> None:
    instance.sh(box, f"cd {place}; ln -s / root; mkfifo pipe; echo x >file; ln -s file link")
    target = tmp_path / "target"
    done = instance.run("vm", "cp", f"{box}:{place}", str(target))
    assert [path.name for path in target.iterdir()] == ["file"]
    for name in ("root", "pipe", "link"):
        assert f"left out {box}:{place}/{name}" in done.stderr


def test_no_set_user_id_comes_from_a_guest(
    instance: Instance, box: str, place: str, tmp_path: Path
) -> None:
    instance.sh(box, f"cp /usr/bin/true {place}/suid; chmod 4755 {place}/suid")
    instance.run("vm", "cp", f"{box}:{place}/suid", str(tmp_path))
    assert (tmp_path / "suid").stat().st_mode & 0o7777 == 0o755


def test_who_owns_it(instance: Instance, box: str, place: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    instance.run("vm", "cp", "--user", "nobody", str(tmp_path / "file"), f"{box}:{place}/file")
    assert instance.sh(box, f"stat -c %U:%G {place}/file") == "nobody:nogroup\n"


def test_an_existing_file_is_replaced(
    instance: Instance, box: str, place: str, tmp_path: Path
) -> None:
    instance.sh(box, f"echo a longer text than the other >{place}/file")
    (tmp_path / "file").write_text("new")
    instance.run("vm", "cp", str(tmp_path / "file"), f"{box}:{place}/file")
    assert instance.sh(box, f"cat {place}/file; ls -A {place}") == "newfile\n"


def test_what_is_missing_or_wrong(instance: Instance, box: str, place: str, tmp_path: Path) -> None:
    here, there = str(tmp_path / "file"), f"{box}:{place}/file"
    assert "no file" in instance.error("vm", "cp", here, there, code=3)
    instance.error("vm", "cp", there, here, code=3)
    assert list(tmp_path.iterdir()) == [], "half a file was left"
    (tmp_path / "file").write_text("x")
    assert "is not absolute" in instance.error("vm", "cp", here, f"{box}:file", code=2)
    assert "one of source and target" in instance.error("vm", "cp", here, here, code=2)
    assert "one of source and target" in instance.error("vm", "cp", there, there, code=2)
    assert "there is no VM" in instance.error("vm", "cp", here, "nobody:/tmp/x", code=3)
    instance.error("vm", "cp", here, f"{box}:{place}/no/such/directory", code=3)


def test_a_target_that_can_not_be_written(
    instance: Instance, box: str, place: str, tmp_path: Path
) -> None:
    """Large, so the refusal comes while there is still much to send."""
    big = tmp_path / "big"
    with big.open("wb") as file:
        file.truncate(BIG_BYTES)
    for target in ("/proc/version/x", "/proc/banger", "/dev/null/x"):
        begun = time.monotonic()
        done = instance.run("vm", "cp", str(big), f"{box}:{target}", code=None, timeout=30)
        assert done.returncode in (1, 2, 3, 4), done
        assert done.stderr.startswith("banger: ")
        assert time.monotonic() - begun < 10
    instance.sh(box, f"mkdir {place}/full && mount -t tmpfs -o size=1m none {place}/full")
    done = instance.run("vm", "cp", str(big), f"{box}:{place}/full/big", code=1, timeout=30)
    assert "pace" in done.stderr, "No space left on device"
    assert instance.sh(box, f"ls -A {place}/full; umount {place}/full") == ""
    assert instance.sh(box, "echo alive") == "alive\n"


def test_a_target_here_that_can_not_be_written(instance: Instance, box: str) -> None:
    done = instance.run("vm", "cp", f"{box}:/etc/hostname", "/proc/nowhere/x", code=None)
    assert done.returncode in (1, 2, 3)
    assert done.stderr.startswith("banger: ")
    assert "internal error" not in done.stderr


def test_a_client_that_is_killed_leaves_no_half_file(
    instance: Instance, box: str, place: str, tmp_path: Path
) -> None:
    big = tmp_path / "big"
    with big.open("wb") as file:
        file.truncate(1 << 30)
    client = instance.start("vm", "cp", str(big), f"{box}:{place}/big")
    deadline = time.monotonic() + 20
    while not instance.sh(box, f"ls -A {place}"):
        assert time.monotonic() < deadline
    client.kill()
    client.communicate()
    deadline = time.monotonic() + 10
    while instance.sh(box, f"ls -A {place}"):
        assert time.monotonic() < deadline, "the unfinished copy stays"
