"""Small tarballs, a root tree that can run the recipe's script, and a kernel to go with it."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from banger_void.recipe import build_program

PROGRAMS = ("dash", "bash", "env", "cp", "rm", "mkdir", "ln")
"""What customize runs; the rest it needs is made up by `make_root`."""

DIRECTORIES = "dev etc/runit etc/sv proc root run sys tmp usr/bin usr/lib var/lib".split()


def member(name: str, kind: bytes = tarfile.REGTYPE, **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    for key, value in fields.items():
        setattr(info, key, value)
    return info


def make_tar(path: Path, members: Iterable[tarfile.TarInfo], mode: str = "w") -> Path:
    """Files are filled with ``x``."""
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for info in members:
            tar.addfile(info, io.BytesIO(b"x" * info.size) if info.isreg() else None)
    return path


def make_kernel_image(directory: Path) -> Path:
    """An image's files, as far as another image takes its kernel from them."""
    modules = directory.parent.parent / "kernel-tree/usr/lib/modules/6.1.0-test"
    modules.mkdir(parents=True)
    (modules / "modules.dep").write_text("kernel/x.ko:\n")
    directory.mkdir(parents=True)
    (directory / "build.json").write_text('{\n  "debian": "12",\n  "kernel": "6.1.0-test",\n}\n')
    (directory / "vmlinux").write_bytes(b"a kernel")
    (directory / "modules.cpio").write_bytes(b"an archive")
    disk = directory / "root.ext4"
    with disk.open("wb") as file:
        file.truncate(16 << 20)
    tree = str(modules.parents[3])
    tool("mkfs.ext4", "-q", "-F", "-d", tree, str(disk))
    return directory


def make_root(directory: Path, *, without: Iterable[str] = ()) -> Path:
    """A root like Void's, with as much in it as customize looks at. Paths in ``without`` are
    what a package would bring."""
    for name in DIRECTORIES:
        (directory / name).mkdir(parents=True)
    for name, target in {
        "bin": "usr/bin",
        "sbin": "usr/bin",
        "usr/sbin": "bin",
        "lib": "usr/lib",
        "lib64": "usr/lib",
        "usr/bin/sh": "dash",
        "usr/bin/init": "runit-init",
    }.items():
        (directory / name).symlink_to(target)
    for program in PROGRAMS:
        _copy_program(program, directory)
    scripts = {
        "usr/bin/sshd": "",
        "usr/bin/runit-init": "",
        "usr/bin/usermod": 'echo "$@" >/root/usermod',
        "etc/runit/1": "",
        "etc/runit/2": "",
    }
    for name, text in scripts.items():
        if name not in without:
            write_script(directory / name, text)
    (directory / "etc/os-release").write_text('NAME="Void"\nPRETTY_NAME="Void Linux"\n')
    (directory / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    return directory


def write_script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def _copy_program(name: str, root: Path) -> None:
    source = shutil.which(name)
    assert source is not None, name
    shutil.copy(source, root / "usr/bin" / name)
    for word in tool("ldd", source).split():
        if word.startswith("/"):
            shutil.copy(word, root / "usr/lib" / Path(word).name)


def pack(root: Path, path: Path) -> Path:
    with tarfile.open(path, "w:xz", preset=0) as tar:
        tar.add(root, arcname=".")
    return path


def build(
    outdir: Path, settings: Mapping[str, str], *options: str, seed: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run the recipe with settings of the capability, by their names; ``seed``: as banger does,
    which has a program for work seeds."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("BANGER_")}
    own = {f"BANGER_CAPABILITIES_VOID_{k.upper()}": v for k, v in settings.items()}
    if seed:
        own["BANGER_WORK_SEED"] = str(Path(__file__).parents[3] / "rootfs/work-seed")
    return subprocess.run(
        [build_program(), outdir, *options],
        env=kept | own,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def read_from(disk: Path, path: str) -> str:
    """A file of an ext4 image."""
    return tool("debugfs", "-R", f"cat {path}", str(disk))


def tool(*argv: str) -> str:
    environ = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    done = subprocess.run(
        argv, env=environ, capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
