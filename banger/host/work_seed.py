"""Work seeds: the small ext4 that each VM's ``/root`` begins as. One beside each image.

A recipe makes it. For an image that was built without one it is made here, from ``/root`` of
the image's disk, which is read without mounting it.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from banger.host import assets
from banger.kernel.errors import CommandFailed, HostNotReady

NAME = "work-seed.ext4"
DEADLINE_S = 120


def find_seed(image: Path) -> Path | None:
    """The seed in an image's directory."""
    seed = image / NAME
    return seed if seed.is_file() else None


def make_seed(image: Path) -> Path:
    """Make the seed of an image of our own from its root disk. Blocks for a second or two.

    Only for disks that a recipe here has made: debugfs believes the names it reads. Raises
    `HostNotReady` and `CommandFailed`; leaves nothing then.
    """
    with tempfile.TemporaryDirectory(dir=image, prefix=".seed-") as scratch:
        directory, made = Path(scratch, "root"), Path(scratch, NAME)
        _run("debugfs", "-R", f"rdump /root {scratch}", str(image / "root.ext4"))
        if not directory.is_dir():
            directory.mkdir(mode=0o700)
        _copy_attributes(image / "root.ext4", directory)
        _run(str(assets.work_seed_program()), str(directory), str(made))
        made.replace(image / NAME)
    return image / NAME


def _copy_attributes(disk: Path, directory: Path) -> None:
    """The extended attributes, which rdump leaves out."""
    for path in [directory, *directory.rglob("*")]:
        inside = "/root" / path.relative_to(directory)
        listed = _run("debugfs", "-R", f'ea_list "{inside}"', str(disk))
        names = [line.split(" (")[0].strip() for line in listed.splitlines() if " (" in line]
        for name in names:
            with tempfile.NamedTemporaryFile() as value:
                _run("debugfs", "-R", f'ea_get -f {value.name} "{inside}" {name}', str(disk))
                os.setxattr(path, name, Path(value.name).read_bytes(), follow_symlinks=False)


def _run(*argv: str) -> str:
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, errors="replace", timeout=DEADLINE_S, check=False
        )
    except FileNotFoundError:
        raise HostNotReady(
            f"{argv[0]} is not installed", hint="install the Debian package e2fsprogs"
        ) from None
    if done.returncode != 0:
        raise CommandFailed(argv, done.returncode, done.stderr)
    return done.stdout
