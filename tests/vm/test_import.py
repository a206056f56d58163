"""Imported images: a container's without an init, a distribution's with one."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.oci_layout import Layout, archive, directory, entry, link
from tests.vm.instance import Instance, wait_until
from tests.vm.test_images import root_of

LIBRARIES = "/usr/lib/x86_64-linux-gnu"
FILES = {
    "usr/bin/dash": "/usr/bin/dash",
    "usr/bin/cat": "/usr/bin/cat",
    "usr/bin/env": "/usr/bin/env",
    "usr/bin/sleep": "/usr/bin/sleep",
    "usr/lib/x86_64-linux-gnu/libc.so.6": f"{LIBRARIES}/libc.so.6",
    "usr/lib64/ld-linux-x86-64.so.2": f"{LIBRARIES}/ld-linux-x86-64.so.2",
}
ENTRYPOINT = 'echo "up $GREETING in $PWD"; cat /proc/self/status; exec sleep 1000000'


def taken(root: Path, path: str, target: Path) -> bytes:
    """A file of an ext4 file system that is not mounted."""
    subprocess.run(["debugfs", "-R", f"dump {path} {target}", str(root)], capture_output=True)
    return target.read_bytes()


@pytest.fixture(scope="module")
def container(instance: Instance) -> Iterator[str]:
    """An image of a shell and little else, in two layers."""
    root, work = root_of(instance), instance.root / "oci"
    programs = [
        entry(name, taken(root, path, instance.root / "taken"), mode=0o755)
        for name, path in FILES.items()
    ]
    links = [link(name, f"usr/{name}") for name in ("bin", "lib", "lib64")]
    lower = archive(*links, *programs, link("bin/sh", "dash"), entry("etc/gone", b"x"))
    upper = archive(
        directory("etc"),
        entry("etc/.wh.gone"),
        entry("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/srv:/bin/sh\n"),
        entry("srv/app/file", b"of the second layer\n"),
    )
    layout = Layout(
        work,
        [lower, upper],
        Entrypoint=["/bin/sh", "-c"],
        Cmd=[ENTRYPOINT],
        Env=["GREETING=hello world", "PATH=/usr/bin:/bin"],
        User="app:app",
        WorkingDir="/srv/app",
    )
    said = instance.run("image", "import", "oci", str(layout.path), "--name", "box").stdout
    assert "no init of its own" in said and "entrypoint is started" in said
    yield "box"
    instance.run("image", "delete", "box")


def test_a_container_runs_without_an_init(instance: Instance, container: str) -> None:
    shown = instance.json("image", "show", container)
    assert shown["init"] == "agent" and shown["managed"] and shown["recipe"] == ""
    assert shown["process"]["argv"] == ["/bin/sh", "-c", ENTRYPOINT]
    assert instance.create("bare", "--image", container)["image"] == container

    def run(*command: str) -> str:
        return instance.run("vm", "exec", "bare", *command).stdout

    def log() -> str:
        return run("--", "cat", "/var/log/entrypoint.log")

    assert run("--", "sh", "-c", "pwd") == "/srv/app\n"
    assert run("--workdir", "/etc", "--", "sh", "-c", "pwd") == "/etc\n"
    assert "GREETING=hello world\n" in run("--", "env")
    assert "Uid:\t1000\t1000\t1000\t1000\n" in run("--", "cat", "/proc/self/status")
    assert "Uid:\t0\t" in run("--user", "root", "--", "cat", "/proc/self/status")
    assert run("--", "cat", "file") == "of the second layer\n"
    assert run("--", "sh", "-c", "echo /etc/g*") == "/etc/g*\n", "it was hidden"
    wait_until(lambda: "Uid:" in log(), 20, "the entrypoint's words")
    assert log().startswith("up hello world in /srv/app\n") and "Uid:\t1000\t" in log()
    instance.run("vm", "restart", "bare")
    wait_until(lambda: "Uid:" in log(), 20, "the entrypoint's words")
    assert log().count("up hello world") == 1, "the log is of this start"
    instance.run("vm", "stop", "bare")
    assert instance.state("bare") == "stopped"
    instance.run("vm", "set", "bare", "--no-entrypoint")
    instance.run("vm", "start", "bare")
    assert "sleep" not in run("--user", "root", "--", "sh", "-c", "cat /proc/[0-9]*/comm")
    instance.run("vm", "delete", "bare")


def test_a_root_tarball_boots_with_its_init(instance: Instance, tmp_path: Path) -> None:
    tree, tarball = tmp_path / "tree", tmp_path / "root.tar.zst"
    tree.mkdir()
    subprocess.run(
        ["debugfs", "-R", f"rdump / {tree}", str(root_of(instance))],
        capture_output=True,
        check=True,
    )
    subprocess.run(
        ["tar", "-c", "--zstd", "--numeric-owner", "-C", str(tree), "-f", str(tarball), "."],
        check=True,
    )
    said = instance.run("image", "import", "tar", str(tarball), "--name", "tarred").stdout
    assert "image tarred imported" in said and "Debian" in said
    again = instance.run("image", "import", "tar", str(tarball), "--name", "tarred").stdout
    assert "imported already" in again
    try:
        instance.create("guest", "--image", "tarred")
        wait_until(lambda: instance.sh("guest", "cat /proc/1/comm") == "systemd\n", 20, "systemd")
        assert instance.sh("guest", "hostname") == "guest\n"
        assert "used by 1 VMs" in instance.error("image", "delete", "tarred", code=4)
        instance.run("vm", "delete", "guest")
    finally:
        instance.run("image", "delete", "tarred")


def test_what_is_refused_leaves_the_image_of_that_name(
    instance: Instance, container: str, tmp_path: Path
) -> None:
    before = instance.json("image", "list")
    bad = tmp_path / "bad.tar"
    bad.write_bytes(archive(directory("etc"), link("etc/out", "../../.."), entry("etc/out/x")))

    def refused(*arguments: str, code: int) -> str:
        done = instance.run("image", "import", *arguments, code=code)
        assert done.stdout == ""
        return done.stderr.splitlines()[-1]

    said = refused("tar", str(bad), "--name", container, code=2)
    assert said == "banger: bad.tar: 'etc/out/x' leads out of the root by a link"
    assert "absolute" in refused("tar", "bad.tar", "--name", container, code=2)
    assert "was not imported" in refused("tar", str(bad), "--name", "debian", code=4)
    assert "no such file" in refused("oci", "/none", "--name", "other", code=3).lower()
    assert instance.json("image", "list") == before
    left = {path.name for path in instance.paths.images.iterdir()}
    assert not [name for name in left if name.startswith(".building")]
