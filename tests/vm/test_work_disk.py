"""Each guest's /root is a disk of its own, begun as the image's."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from banger.host import work_seed
from tests.vm.conftest import NewInstance
from tests.vm.instance import Instance

MIB = 1 << 20
LISTING = (
    "cd /root && find . -path ./.ssh -prune -o -printf '%p %y %m %U %G %s %l\\n' | sort;"
    "find . -path ./.ssh -prune -o -type f -exec sha256sum {} + | sort"
)
"""Names, types, modes, owners, sizes, targets, contents; what the agent writes left out."""


@pytest.fixture(scope="module")
def worker(instance: Instance) -> Iterator[str]:
    # No smaller than a seed's: those begin in none.
    instance.create("worker", "--work-size", "12G")
    yield "worker"
    instance.run("vm", "delete", "worker")


@pytest.fixture(scope="module")
def plain(instance: Instance) -> Iterator[str]:
    """A VM whose /root is the image's."""
    instance.create("plain", "--no-work-disk")
    yield "plain"
    instance.run("vm", "delete", "plain")


def size_mib(instance: Instance, name: str) -> int:
    return int(instance.sh(name, "df -BM --output=size /root | tail -1").strip(" M\n"))


def test_it_begins_as_the_image_s_home(instance: Instance, worker: str, plain: str) -> None:
    assert instance.sh(worker, "findmnt -no SOURCE /root") == "/dev/vdb\n"
    assert instance.sh(plain, "findmnt -no SOURCE -T /root") == "/dev/vda\n"
    home = instance.sh(worker, LISTING)
    assert ".bashrc" in home
    # A directory's size is its file system's affair.
    files = [line for line in home.splitlines() if " d " not in line]
    assert files == [line for line in instance.sh(plain, LISTING).splitlines() if " d " not in line]
    for where in (worker, plain):
        assert instance.sh(where, "stat -c '%a %u %g' /root") == "700 0 0\n"


def test_its_size_and_what_it_takes(instance: Instance, worker: str) -> None:
    assert 11500 < size_mib(instance, worker) <= 12288
    disk = instance.record(worker).with_name("work.qcow2")
    # The guest grew the file system; nothing was copied.
    assert disk.stat().st_blocks * 512 < 4 * MIB
    events = instance.paths.event_log.read_text().splitlines()
    told = [
        event["text"]
        for event in map(json.loads, events)
        if event["type"] == "hook-progress" and event["vm"] == worker
    ]
    assert re.fullmatch(
        r"overlay of the image's work seed: 12 KiB allocated in [0-9.]+ ms", told[0]
    )


NESTED = """
cd /root && mkdir -p root/.ssh root/work && mv .bashrc .profile root/
echo one >root/notes; echo two >root/work/deep; echo key >root/.ssh/authorized_keys
echo kept >notes
"""
"""As an older version left it: all of /root in /root/root, and a key of somebody's."""


def test_it_survives_and_grows(instance: Instance, worker: str) -> None:
    instance.sh(worker, NESTED)
    instance.run("vm", "set", worker, "--work-size", "14G")
    assert 11500 < size_mib(instance, worker) <= 12288
    said = instance.run("vm", "restart", worker).stderr
    assert said == (
        f"banger: {worker}: /root/root, left by an older version, was not moved up: "
        "/root/notes is in the way\n"
    )
    assert "in the way" in instance.run("vm", "show", worker).stdout
    assert instance.sh(worker, "cat /root/notes /root/root/notes") == "kept\none\n"
    assert 13400 < size_mib(instance, worker) <= 14336
    error = instance.error("vm", "set", worker, "--work-size", "1G", code=2)
    assert "--work-size 1G is less than the 14G the disk has" in error


def test_a_nested_home_is_put_right(instance: Instance, worker: str) -> None:
    instance.sh(worker, "rm /root/notes")
    said = instance.run("vm", "restart", worker).stderr
    assert said == f"banger: {worker}: what an older version had left in /root/root was moved up\n"
    inside = "ls -A /root/root 2>&1; cat /root/notes /root/work/deep /root/.ssh/*.nested"
    assert instance.sh(worker, inside).splitlines()[1:] == ["one", "two", "key"]
    assert instance.sh(worker, "ls -A /root").split() == [
        ".bashrc", ".profile", ".ssh", "notes", "work",
    ]  # fmt: skip
    assert instance.show(worker)["notes"] == [said.split(": ", 2)[2].strip()]


def test_a_destroyed_disk_is_made_anew(instance: Instance, worker: str) -> None:
    assert "it is running" in instance.error("vm", "reset-work", worker, code=4)
    wipe = "dd if=/dev/zero of=/dev/vdb bs=1M count=8 conv=fsync"
    instance.sh(worker, f"echo precious >/root/file; sync; {wipe}")
    instance.run("vm", "stop", worker, "--force")
    said = instance.error("vm", "start", worker, code=1)
    assert "mounting drive work on /root" in said and "banger vm reset-work" in said
    assert instance.state(worker) == "stopped"
    told = instance.json("vm", "reset-work", worker)
    former = Path(told["former"])
    assert former.stat().st_blocks * 512 >= 8 * MIB
    instance.run("vm", "start", worker)
    assert ".bashrc" in instance.sh(worker, "ls -A /root; test ! -e /root/file")


def test_an_image_without_a_seed_gets_one(new_instance: NewInstance) -> None:
    own = new_instance(BANGER_VM_WARM_SEEDS="off")
    (image,) = own.paths.images.glob("debian-*")
    (image / work_seed.NAME).unlink(missing_ok=True)
    own.create("first")
    made = (image / work_seed.NAME).stat()
    assert made.st_blocks * 512 < 16 * MIB
    own.create("second", "--no-start")
    assert own.sh("first", "findmnt -no SOURCE /root; ls -A /root").split()[0] == "/dev/vdb"
    assert ".bashrc" in own.sh("first", "ls -A /root")
    assert (image / work_seed.NAME).stat().st_ino == made.st_ino
