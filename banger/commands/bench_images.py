from __future__ import annotations

import re
import statistics
import time
from collections import defaultdict
from pathlib import Path

from banger.commands.bench_image_files import Variant, roots
from banger.commands.bench_image_files import run as run_tool
from banger.commands.bench_report import Report, report, since
from banger.commands.context import Context
from banger.commands.declare import Command, Kind, Option
from banger.kernel.errors import CommandFailed, UsageError
from banger.model.events import AnyEvent, HookProgress, StageFinished
from banger.model.image import ImageView
from banger.model.requests.images import (
    BuildImage,
    ChooseDefaultImage,
    DeleteImage,
    ListImages,
    RegisterImage,
    ShowImage,
)
from banger.model.requests.vms import CreateVm, DeleteVm

VARIANTS = (
    Variant(512, 0),
    Variant(2048, 0),
    Variant(8192, 0),
    Variant(2048, 100),
    Variant(2048, 400),
)
DISKS = ("root-disk", "work disk", "prepare")
"""What of a creation is to take the same time whatever the image; ``prepare`` has the work disk
and what else is prepared."""
FLAT = 1.2
_TOOK = re.compile(r"in ([0-9.]+) ms\Z")

Measured = defaultdict[str, list[float]]
"""What the runs took, in ms, by name."""


def run(context: Context, *, runs: int) -> None:
    if runs < 1:
        raise UsageError(f"--runs {runs}: at least one run is needed")
    default = context.call(ShowImage(context.call(ChooseDefaultImage()).name))
    measured = Measured(list)
    way = ""
    _measure_unchanged(context, default, runs, measured)
    with roots(context, default, VARIANTS) as paths:
        try:
            for _ in range(runs):
                for variant, path in paths.items():
                    _measure_register(context, variant, path, measured)
                    way = _measure_create(context, variant, measured) or way
                    if variant is VARIANTS[-1]:
                        _measure_other_ways(context, variant, path.parent, measured)
                    context.call(DeleteImage(variant.image))
        finally:
            left = {view.name for view in context.call(ListImages())}
            for name in left & {variant.image for variant in VARIANTS}:
                context.call(DeleteImage(name))
    flat = {
        disk: _flatness(disk, measured) for disk in DISKS if f"{disk}, {VARIANTS[0]}" in measured
    }
    ratios = [(f"flatness of {disk}", [ratio]) for disk, (ratio, _) in flat.items()]
    report(context, runs, [*measured.items(), *ratios], {name: "x" for name, _ in ratios})
    for disk, (ratio, is_flat) in flat.items():
        verdict = "flat" if is_flat else "NOT flat"
        context.line(f"{disk} is {verdict}: the slowest image takes {ratio:.2f} times the quickest")
    context.line(f"way taken for /root: {way or 'no work disk'}")


def _flatness(disk: str, measured: Measured) -> tuple[float, bool]:
    """Slowest to quickest image, by the least of their runs, for whatever else the machine does
    only adds to that; and whether it is within 20 % beyond the noise."""
    runs = [measured[f"{disk}, {variant}"] for variant in VARIANTS]
    least = [min(values) for values in runs]
    noise = max(statistics.median(values) - min(values) for values in runs)
    return max(least) / min(least), max(least) <= FLAT * min(least) + noise


def _measure_unchanged(context: Context, image: ImageView, runs: int, measured: Measured) -> None:
    if not image.key or not image.managed:
        context.note(f"image {image.name} has no key: building it unchanged is not measured")
        return
    if context.call(BuildImage(image.name, image.recipe)).built:
        context.note(f"image {image.name} was built first, for its recipe had changed")
    for _ in range(runs):
        begun = time.perf_counter()
        context.call(BuildImage(image.name, image.recipe))
        measured["build, unchanged"].append(since(begun))


def _measure_register(context: Context, variant: Variant, path: Path, measured: Measured) -> None:
    """With a work seed made of /root, so what is in there counts."""
    for what in ("new", "known"):
        begun = time.perf_counter()
        context.call(RegisterImage(variant.image, str(path)))
        measured[f"register, {what}, {variant.home_mb} MB in /root"].append(since(begun))


def _measure_create(context: Context, variant: Variant, measured: Measured) -> str:
    """Returns how the work disk was made."""
    ways = []

    def take(event: object) -> None:
        match event:
            case StageFinished(stage=stage) if stage in DISKS:
                measured[f"{stage}, {variant}"].append(event.duration_ms)
            case HookProgress(capability="work", text=text) if took := _TOOK.search(text):
                measured[f"work disk, {variant}"].append(float(took[1]))
                ways.append(text)

    view = context.daemon.call(CreateVm(image=variant.image), items=AnyEvent, on_item=take)
    context.call(DeleteVm(view.name))
    return ways[-1] if ways else ""


def _measure_other_ways(
    context: Context, variant: Variant, directory: Path, measured: Measured
) -> None:
    """What a copy of the largest work seed would take; a reflink where files can share blocks."""
    seed = Path(context.call(ShowImage(variant.image)).path) / "work-seed.ext4"
    copy = directory / "copy"
    for name, options in (
        ("sparse copy", ("--sparse=always", "--reflink=never")),
        ("reflink", ("--reflink=always",)),
    ):
        begun = time.perf_counter()
        try:
            run_tool("cp", *options, str(seed), str(copy))
        except CommandFailed:
            context.note(f"no {name} at {directory.parent}")
        else:
            measured[f"instead of an overlay: {name}, {variant.home_mb} MB"].append(since(begun))
        copy.unlink(missing_ok=True)


COMMAND = Command(
    path=("bench", "images"),
    summary="Measure images: building unchanged ones, registering, disks of new VMs.",
    details="Makes copies of the default image of 0.5, 2 and 8 GiB and with 0, 100 and 400 MB in "
    "/root below /var/tmp, registers them, and creates a VM of each in turn. All of it is removed. "
    "Then tells whether the disks of a new VM take the same time whatever the image: within 20 %, "
    "noise aside.",
    run=run,
    reply=Report,
    mutates=True,
    options=(Option("runs", ("--runs",), "How many times.", Kind.NUMBER, "N", 5),),
    examples=("banger bench images --runs 5",),
)
