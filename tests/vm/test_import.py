"""Imported images: a container's without an init, a distribution's with one."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.oci_layout import archive, directory, entry, link
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


def tool(*argv: str | Path) -> None:
    done = subprocess.run([str(word) for word in argv], capture_output=True, check=False)
    assert done.returncode == 0, f"{argv}: {done.stderr.decode()}"


def taken(root: Path, path: str, target: Path) -> bytes:
    """A file of an ext4 file system that is not mounted."""
    subprocess.run(["debugfs", "-R", f"dump {path} {target}", str(root)], capture_output=True)
    return target.read_bytes()


@pytest.fixture(scope="module")
def layout(instance: Instance) -> Path:
    """An OCI layout of a shell and little else, in two layers, as umoci makes it."""
    layout, bundle = instance.root / "oci", instance.root / "bundle"
    image = f"{layout}:one"
    tool("umoci", "init", "--layout", layout)
    tool("umoci", "new", "--image", image)
    tool("umoci", "unpack", "--image", image, bundle)
    root = bundle / "rootfs"
    for name, path in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        taken(root_of(instance), path, root / name)
        (root / name).chmod(0o755)
    for name in ("bin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    (root / "usr/bin/sh").symlink_to("dash")
    (root / "etc").mkdir()
    (root / "etc/gone").write_text("x")
    tool("umoci", "repack", "--image", image, bundle)
    shutil.rmtree(bundle)
    tool("umoci", "unpack", "--image", image, bundle)
    (root / "etc/gone").unlink()
    (root / "etc/passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/srv:/bin/sh\n"
    )
    (root / "srv/app").mkdir(parents=True)
    (root / "srv/app/file").write_text("of the second layer\n")
    tool("umoci", "repack", "--image", image, bundle)
    shutil.rmtree(bundle)
    tool(
        "umoci",
        "config",
        f"--image={image}",
        "--config.entrypoint=/bin/sh",
        "--config.entrypoint=-c",
        f"--config.cmd={ENTRYPOINT}",
        "--config.env=GREETING=hello world",
        "--config.env=PATH=/usr/bin:/bin",
        "--config.user=app:app",
        "--config.workingdir=/srv/app",
    )
    return layout


@pytest.fixture(scope="module")
def container(instance: Instance, layout: Path) -> Iterator[str]:
    said = instance.run("image", "import", "oci", str(layout), "--name", "box").stdout
    assert "no init of its own" in said and "entrypoint is started" in said
    yield "box"
    instance.run("image", "delete", "box")


def test_an_archive_as_of_docker_save(instance: Instance, container: str, layout: Path) -> None:
    """The same image, brought into that format by skopeo, is the same here."""
    saved = instance.root / "saved.tar"
    copy = ("skopeo", "--insecure-policy", "copy", "-q")
    tool(*copy, f"oci:{layout}:one", f"docker-archive:{saved}:box:one")
    instance.run("image", "import", "oci", str(saved), "--name", "saved")
    views = {view["name"]: view for view in instance.json("image", "list")}
    for field in ("init", "process", "kernel_version", "work_seed"):
        assert views["saved"][field] == views[container][field]
    for path in ("/srv/app/file", "/etc/passwd", "/usr/bin/dash"):
        contents = {
            taken(root_of(instance, name), path, instance.root / "taken")
            for name in ("saved", container)
        }
        assert len(contents) == 1 and b"" not in contents
    instance.run("image", "delete", "saved")
    saved.unlink()


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


def test_a_container_is_changed_in_a_shell(instance: Instance, container: str) -> None:
    """Nobody listens for ssh there: it is the agent's shell. It goes on to be a container."""
    script = b"echo of the shell >/srv/app/more; cat /proc/self/status\n"
    customize = ("image", "customize", container, "--shell", "--save", "--as", "changed")
    said = instance.run_bytes(*customize, input=script).stdout
    assert b"Uid:\t0\t" in said and b"image changed built" in said
    before, after = (instance.json("image", "show", name) for name in (container, "changed"))
    for field in ("init", "process", "kernel_version", "distribution"):
        assert after[field] == before[field]
    more = taken(root_of(instance, "changed"), "/srv/app/more", instance.root / "taken")
    assert more == b"of the shell\n"
    instance.run("image", "delete", "changed")


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
