"""Root file systems to measure with: of several sizes, with more or less in their /root."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from banger.commands.context import Context
from banger.kernel.errors import CommandFailed, HostNotReady
from banger.model.image import ImageView

PLACE = "/var/tmp"  # noqa: S108 the files made there have a directory of their own
_FILE_MB = 50


class Variant(msgspec.Struct, frozen=True):
    size_mib: int
    home_mb: int
    """What lies in /root beside the image's own; a multiple of 50."""

    @property
    def image(self) -> str:
        return f"bench-images-{self.size_mib}-{self.home_mb}"

    def __str__(self) -> str:
        return f"{self.size_mib / 1024:g} GiB, {self.home_mb} MB in /root"


@contextmanager
def roots(
    context: Context, image: ImageView, variants: Sequence[Variant]
) -> Iterator[dict[Variant, Path]]:
    """A root file system of each, with the image's content. They go when the block ends."""
    root = Path(image.path) / "root.ext4" if image.managed else Path(image.source)
    if not os.access(root, os.R_OK):
        raise HostNotReady(f"{root} can't be read by this user", hint="run it as the daemon's user")
    with tempfile.TemporaryDirectory(prefix="banger-bench-", dir=PLACE) as directory:
        filling = Path(directory) / "filling"
        filling.write_bytes(os.urandom(_FILE_MB * 1_000_000))
        paths = {}
        for variant in variants:
            context.note(f"making an image of {variant}")
            path = Path(directory) / f"{variant.image}.ext4"
            run("cp", "--sparse=always", str(root), str(path))
            run("e2fsck", "-fy", str(path))
            run("resize2fs", str(path), f"{variant.size_mib}M")
            os.truncate(path, variant.size_mib << 20)
            for number in range(variant.home_mb // _FILE_MB):
                run("debugfs", "-w", "-R", f"write {filling} /root/filling-{number}", str(path))
            paths[variant] = path
        yield paths


def run(*argv: str) -> None:
    """Raises `HostNotReady` and `CommandFailed`."""
    if shutil.which(argv[0]) is None:
        raise HostNotReady(f"{argv[0]!r} is not installed", hint="install the package e2fsprogs")
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    # e2fsck says 1 when it has mended something.
    if done.returncode > (argv[0] == "e2fsck"):
        raise CommandFailed(argv, done.returncode, done.stderr.decode(errors="replace"))
