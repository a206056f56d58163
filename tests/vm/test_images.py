"""Images in a running daemon: registered files, builds, and VMs made of them."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vm.conftest import NewInstance
from tests.vm.instance import Instance, wait_until

RECIPE = """#!/bin/bash
# Takes the files of the Debian image that is there.
set -euo pipefail
echo "step: wait"
echo "a word" >&2
touch "$BENCH_OF_TEST/began"
while [[ -e $BENCH_OF_TEST/wait ]]; do sleep 0.05; done
echo "step: copy"
for file in root.ext4 vmlinux modules.cpio; do
    cp --sparse=always "$BENCH_OF_TEST/debian/$file" "$1/$file"
done
echo '{"kernel": "6.1", "distribution": "Odd"}' >"$1/build.json"
"""


def root_of(instance: Instance, name: str = "debian") -> Path:
    return Path(instance.json("image", "show", name)["path"]) / "root.ext4"


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def made_by_hand(instance: Instance, path: Path) -> Path:
    """A system's tree in a file system that mke2fs made as it does by itself."""
    with tempfile.TemporaryDirectory(dir=instance.root) as tree:
        command = ["debugfs", "-R", f"rdump / {tree}", str(root_of(instance))]
        subprocess.run(command, check=True, capture_output=True)
        features = "^metadata_csum,^64bit,^orphan_file"
        command = ["mke2fs", "-q", "-t", "ext4", "-O", features, "-d", tree, str(path), "2G"]
        subprocess.run(command, check=True, capture_output=True)
    return path


@pytest.fixture(scope="module")
def mine(instance: Instance) -> Iterator[Path]:
    """A registered image of a file that is not banger's."""
    path = made_by_hand(instance, instance.root / "mine.ext4")
    shown = instance.run("image", "register", "--name", "mine", "--rootfs", str(path)).stdout
    assert "kernel and modules are those of the default image 'debian'" in shown
    yield path
    if "mine" in {view["name"] for view in instance.json("image", "list")}:
        instance.run("image", "delete", "mine")
    assert path.exists()
    path.unlink()


def test_a_registered_file_boots_and_stays_as_it_is(instance: Instance, mine: Path) -> None:
    before, status = digest(mine), mine.stat()
    assert instance.create("guest", "--image", "mine")["image"] == "mine"
    customize = ("image", "customize", "mine", "--shell", "--save")
    assert "needs a name of its own" in instance.error(*customize, code=4)
    assert "Debian" in instance.sh("guest", "echo changed >/root/x; sync; cat /etc/os-release")
    assert "used by 1 VMs: guest" in instance.error("image", "delete", "mine", code=4)
    instance.run("image", "rename", "mine", "yours")
    assert instance.json("image", "show", "yours")["vms"] == ["guest"]
    instance.run("vm", "restart", "guest")
    assert instance.sh("guest", "cat /root/x") == "changed\n"
    instance.run("image", "rename", "yours", "mine")
    instance.run("vm", "delete", "guest")
    after = mine.stat()
    assert digest(mine) == before
    assert (after.st_mtime_ns, after.st_size, after.st_ino, after.st_mode) == (
        status.st_mtime_ns,
        status.st_size,
        status.st_ino,
        status.st_mode,
    )


def test_a_file_that_changed_is_not_started_from(instance: Instance, mine: Path) -> None:
    instance.run("vm", "create", "--name", "later", "--image", "mine", "--no-start")
    status = mine.stat()
    os.utime(mine)
    said = instance.error("vm", "start", "later", code=5)
    assert "'mine' can't be used" in said and "was written to" in said
    assert instance.json("image", "show", "mine")["state"] == "unusable"
    assert "can't be used" in instance.error("vm", "create", "--image", "mine", code=5)
    assert instance.state("later") == "stopped"
    os.utime(mine, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert instance.json("image", "show", "mine")["state"] == "ready"
    instance.run("vm", "delete", "later")


def test_the_default(instance: Instance, mine: Path) -> None:
    instance.run("image", "default", "mine")
    try:
        assert instance.json("image", "default") == {
            "name": "mine",
            "origin": "command",
            "exists": True,
        }
        view = instance.json("vm", "create", "--name", "plain", "--no-start")
        assert view["image"] == "mine"
        instance.run("vm", "delete", "plain")
    finally:
        told = instance.json("image", "default", "--clear")
    assert told == {"name": "debian", "origin": "setting", "exists": True}


def test_wrong_files_change_nothing(instance: Instance, mine: Path, tmp_path: Path) -> None:
    before = instance.json("image", "list")
    fifo, link, cut = tmp_path / "fifo", tmp_path / "link", tmp_path / "cut"
    os.mkfifo(fifo)
    link.symlink_to(mine)
    with mine.open("rb") as file:
        cut.write_bytes(file.read(4 << 20))
    for path, code, said in (
        (fifo, 2, "a FIFO"),
        (link, 2, "it is a link"),
        (cut, 2, "the file only 4194304"),
        (tmp_path, 2, "a directory"),
        (Path("/dev/null"), 2, "a character device"),
        (tmp_path / "none", 3, "there is no file"),
        (Path("mine.ext4"), 2, "not an absolute path"),
    ):
        arguments = ("image", "register", "--name", "bad", "--rootfs", str(path))
        assert said in instance.error(*arguments, code=code)
    arguments = ("image", "register", "--name", "debian", "--rootfs", str(mine))
    assert "one that banger built" in instance.error(*arguments, code=4)
    instance.error("image", "register", "--name", "../x", "--rootfs", str(mine), code=2)
    assert instance.json("image", "list") == before


def test_export(instance: Instance, mine: Path, tmp_path: Path) -> None:
    for name in ("a.tar", "a.tar.zst"):
        file = tmp_path / name
        told = instance.json("image", "export", "mine", str(file))
        assert told["bytes"] == file.stat().st_size < 500 << 20
        instance.error("image", "export", "mine", str(file), code=4)
        listed = subprocess.run(["tar", "tf", str(file)], capture_output=True, text=True)
        members = listed.stdout.split()
        assert members[0] == "image.json"
        assert {"vmlinux", "modules.cpio", "root.ext4"} <= set(members)
    subprocess.run(["tar", "xf", str(tmp_path / "a.tar.zst"), "-C", str(tmp_path)], check=True)
    subprocess.run(["cmp", str(mine), str(tmp_path / "root.ext4")], check=True)
    assert json.loads((tmp_path / "image.json").read_text())["name"] == "mine"
    instance.error("image", "export", "nope", str(tmp_path / "b.tar"), code=3)
    instance.error("image", "export", "mine", str(tmp_path / "b.zip"), code=2)
    archives = {"a.tar", "a.tar.zst"}
    assert {path.name for path in tmp_path.iterdir()} == archives | set(members)


@pytest.fixture
def builder(new_instance: NewInstance, images: Path, tmp_path: Path) -> Instance:
    """An instance with a recipe ``odd`` that waits for as long as a file is there."""
    site, bench = tmp_path / "site", tmp_path / "bench"
    (site / "odd-1.0.dist-info").mkdir(parents=True)
    bench.mkdir()
    (bench / "debian").symlink_to(next(images.glob("debian-*")))
    program = tmp_path / "recipes/odd/build"
    program.parent.mkdir(parents=True)
    program.write_text(RECIPE)
    program.chmod(0o755)
    info = site / "odd-1.0.dist-info"
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: odd\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[banger.images]\nodd = odd:recipe\n")
    (site / "odd.py").write_text(f"def recipe(): return {str(program)!r}\n")
    return new_instance(PYTHONPATH=str(site), BENCH_OF_TEST=str(bench))


def bench(instance: Instance) -> Path:
    return Path(instance.environ["BENCH_OF_TEST"])


def hold(instance: Instance) -> None:
    (bench(instance) / "began").unlink(missing_ok=True)
    (bench(instance) / "wait").touch()


def await_begin(instance: Instance) -> None:
    wait_until((bench(instance) / "began").exists, 30, "the builder's start")


def partial(instance: Instance) -> set[str]:
    return {path.name for path in instance.paths.images.glob(".*")}


def test_builds(builder: Instance) -> None:
    """Unchanged, forced, by two at once, cancelled, interrupted."""
    assert builder.json("image", "build", "odd")["key"]
    done = builder.run("image", "build", "odd")
    assert "image odd is up to date" in done.stdout
    hold(builder)
    first = builder.start("image", "build", "odd", "--force")
    await_begin(builder)
    said = builder.error("image", "build", "odd", "--force", code=4)
    assert "'odd' is being built since" in said and "'wait'" in said
    (view,) = [view for view in builder.json("image", "list") if view["name"] == "odd"]
    assert view["building"]["step"] == "wait"
    assert "a word" in builder.run("image", "log", "odd").stdout
    builder.run("image", "cancel", "odd")
    _, stderr = first.communicate(timeout=20)
    assert first.returncode == 1
    assert b"was cancelled" in stderr
    assert partial(builder) == set()
    assert builder.run("image", "log", "odd", "--failed").stdout.endswith(": cancelled\n")
    hold(builder)
    second = builder.start("image", "build", "odd", "--force")
    await_begin(builder)
    second.send_signal(signal.SIGINT)
    assert second.wait(timeout=20) == 130
    wait_until(lambda: partial(builder) == set(), 10, "the end of the build")
    (bench(builder) / "wait").unlink()
    newer = builder.json("image", "build", "odd", "--force")
    assert newer["id"] != view["id"]
    builder.create("of-odd", "--image", "odd")
    assert builder.sh("of-odd", "echo hello") == "hello\n"
    builder.run("vm", "delete", "of-odd")
    builder.run("image", "delete", "odd")
    builder.error("image", "log", "odd", code=3)


def test_a_killed_daemons_build_is_ended_by_the_next(builder: Instance) -> None:
    hold(builder)
    builder.start("image", "build", "odd")
    await_begin(builder)
    builder.signal_daemon(signal.SIGKILL)
    assert partial(builder) != set()
    (bench(builder) / "wait").unlink()
    assert builder.json("image", "build", "odd")["name"] == "odd"
    assert partial(builder) == set()
