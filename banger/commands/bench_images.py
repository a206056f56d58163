from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from banger.commands.bench_report import Report, report, since
from banger.commands.context import Context
from banger.commands.declare import Command, Kind, Option
from banger.kernel.errors import CommandFailed, HostNotReady, UsageError
from banger.model.events import AnyEvent, StageFinished
from banger.model.image import ImageView
from banger.model.requests import (
    BuildImage,
    ChooseDefaultImage,
    CreateVm,
    DeleteImage,
    DeleteVm,
    ListImages,
    RegisterImage,
    ShowImage,
)

SIZES_MIB = (512, 2048, 8192)
STAGES = ("root-disk", "prepare")
PLACE = "/var/tmp"  # noqa: S108 the files made there have a directory of their own
PREFIX = "bench-images-"


def run(context: Context, *, runs: int) -> None:
    if runs < 1:
        raise UsageError(f"--runs {runs}: at least one run is needed")
    default = context.call(ShowImage(context.call(ChooseDefaultImage()).name))
    measured: defaultdict[str, list[float]] = defaultdict(list)
    _measure_unchanged(context, default, runs, measured)
    with _sized(context, default) as paths:
        names = {size: f"{PREFIX}{size}" for size in paths}
        try:
            for _ in range(runs):
                for size, path in paths.items():
                    begun = time.perf_counter()
                    context.call(RegisterImage(names[size], str(path)))
                    measured["register, new"].append(since(begun))
                    begun = time.perf_counter()
                    context.call(RegisterImage(names[size], str(path)))
                    measured["register, known"].append(since(begun))
                    _measure_create(context, names[size], size, measured)
                    context.call(DeleteImage(names[size]))
        finally:
            left = {view.name for view in context.call(ListImages())}
            for name in left & set(names.values()):
                context.call(DeleteImage(name))
    report(context, runs, sorted(measured.items()), {})


def _measure_unchanged(
    context: Context, image: ImageView, runs: int, measured: defaultdict[str, list[float]]
) -> None:
    if not image.key or not image.managed:
        context.note(f"image {image.name} has no key: building it unchanged is not measured")
        return
    if context.call(BuildImage(image.name, image.recipe)).built:
        context.note(f"image {image.name} was built first, for its recipe had changed")
    for _ in range(runs):
        begun = time.perf_counter()
        context.call(BuildImage(image.name, image.recipe))
        measured["build, unchanged"].append(since(begun))


def _measure_create(
    context: Context, image: str, size: int, measured: defaultdict[str, list[float]]
) -> None:
    def take(event: object) -> None:
        if isinstance(event, StageFinished) and event.stage in STAGES:
            measured[f"stage {event.stage}, {size / 1024:g} GiB"].append(event.duration_ms)

    view = context.daemon.call(CreateVm(image=image), items=AnyEvent, on_item=take)
    context.call(DeleteVm(view.name))


@contextmanager
def _sized(context: Context, image: ImageView) -> Iterator[dict[int, Path]]:
    """Root file systems of several sizes with the same content, by size in MiB."""
    root = Path(image.path) / "root.ext4" if image.managed else Path(image.source)
    if not os.access(root, os.R_OK):
        raise HostNotReady(f"{root} can't be read by this user", hint="run it as the daemon's user")
    with tempfile.TemporaryDirectory(prefix="banger-bench-", dir=PLACE) as directory:
        paths = {}
        for size in SIZES_MIB:
            context.note(f"making an image of {size} MiB")
            path = Path(directory) / f"{size}.ext4"
            _run("cp", "--sparse=always", str(root), str(path))
            _run("e2fsck", "-fy", str(path))
            _run("resize2fs", str(path), f"{size}M")
            os.truncate(path, size << 20)
            paths[size] = path
        yield paths


def _run(*argv: str) -> None:
    if shutil.which(argv[0]) is None:
        raise HostNotReady(f"{argv[0]!r} is not installed", hint="install the package e2fsprogs")
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    # e2fsck says 1 when it has mended something.
    if done.returncode > (argv[0] == "e2fsck"):
        raise CommandFailed(argv, done.returncode, done.stderr.decode(errors="replace"))


COMMAND = Command(
    path=("bench", "images"),
    summary="Measure images: building unchanged ones, registering, disks of several sizes.",
    details="Makes copies of the default image of 0.5, 2 and 8 GiB below /var/tmp, registers them, "
    "and creates a VM of each in turn. All of it is removed.",
    run=run,
    reply=Report,
    mutates=True,
    options=(Option("runs", ("--runs",), "How many times.", Kind.NUMBER, "N", 5),),
    examples=("banger bench images --runs 5",),
)
