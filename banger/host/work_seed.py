"""Work seeds: the small ext4 that each VM's ``/root`` begins as. One beside each image.

A recipe makes it. For an image that has none it is made here, from ``/root`` of the image's
disk, which is read without mounting it and may be hostile.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from banger.host import assets, ext4, ext4_tree
from banger.host.ext4_extract import extract
from banger.kernel.errors import CommandFailed, HostNotReady, UsageError

NAME = "work-seed.ext4"


def find_seed(image: Path) -> Path | None:
    """The seed in an image's directory."""
    seed = image / NAME
    return seed if seed.is_file() else None


def make_seed(root: Path, directory: Path) -> Path:
    """Make the seed in ``directory`` of the root file system. Blocks for a second or two.

    Raises `UsageError` for one that is damaged or has too large a home, `CommandFailed`,
    `HostNotReady`; leaves nothing then.
    """
    try:
        return _make_seed(root, directory)
    except OSError as error:
        raise HostNotReady(f"{root}: the work seed of its /root can't be made: {error}") from error


def _make_seed(root: Path, directory: Path) -> Path:
    with tempfile.TemporaryDirectory(dir=directory, prefix=".seed-") as scratch:
        home, made = Path(scratch, "root"), Path(scratch, NAME)
        file = ext4.open_image(root)
        try:
            extract(ext4_tree.Tree(file, ext4.read_superblock(file, root)), "/root", home)
        except ValueError as error:
            raise UsageError(
                f"{root}: no work seed can be made of its /root: {error}",
                hint="register an image with --work-seed, or make VMs with --no-work-disk",
            ) from None
        finally:
            os.close(file)
        argv = [str(assets.work_seed_program()), str(home), str(made)]
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        if done.returncode != 0:
            raise CommandFailed(argv, done.returncode, done.stderr.decode(errors="replace"))
        made.replace(directory / NAME)
    return directory / NAME
