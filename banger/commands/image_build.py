from __future__ import annotations

import re
import time
from pathlib import Path

from banger.commands.context import Context
from banger.commands.declare import Argument, Command, Completion, Kind, Option
from banger.kernel.errors import NotFound, UsageError
from banger.model.build import (
    PACKAGE_PATTERN,
    SCRIPT_BYTES_MAX,
    SCRIPT_NAME_PATTERN,
    SIZE_BYTES_MAX,
    SIZE_BYTES_MIN,
    BuildOptions,
    BuildScript,
)
from banger.model.events import AnyEvent, BuildProgress
from banger.model.image import ImageState, ImageView
from banger.model.names import check_name
from banger.model.requests.images import BuildImage, ShowImage
from banger.model.sizes import parse_size, show_size
from banger.model.text import printable


def run(
    context: Context,
    *,
    name: str,
    recipe: str | None,
    base: str | None,
    size: str | None,
    packages: tuple[str, ...],
    scripts: tuple[str, ...],
    profile: str | None,
    rootfs_tarball: str | None,
    if_missing: bool,
    force: bool,
) -> None:
    check_name("image", name)
    by_file = recipe is not None and "/" in recipe
    if by_file and not Path(recipe or "").is_absolute():
        raise UsageError(
            f"--recipe {recipe!r} is neither a recipe's name nor an absolute path",
            hint=f"it is {Path.cwd() / (recipe or '')}",
        )
    if base is not None and recipe is not None and not by_file:
        raise UsageError(f"--recipe {recipe} and --from {base} exclude each other")
    options = BuildOptions(
        size_bytes=_size(size),
        packages=[_package(package) for package in packages],
        scripts=_scripts(scripts),
        profile=check_name("profile", profile) if profile is not None else None,
        recipe_file=recipe if by_file else None,
        rootfs_tarball=str(Path(rootfs_tarball).resolve()) if rootfs_tarball is not None else None,
        base=check_name("base", base) if base is not None else None,
    )
    by_name = name if by_file else check_name("recipe", recipe or base or name)
    view = _existing(context, name) if if_missing else None
    if view is None:
        request = BuildImage(name, by_name, force=force, options=options)
        view = build(context, request)
    else:
        context.line(f"image {name} is there already")
    context.document(view)


def _size(text: str | None) -> int | None:
    if text is None:
        return None
    size = parse_size(text)
    if not SIZE_BYTES_MIN <= size <= SIZE_BYTES_MAX:
        raise UsageError(f"--size {text} is not within 1G and 16T")
    return size


def _package(name: str) -> str:
    if not re.fullmatch(PACKAGE_PATTERN, name):
        raise UsageError(f"--package {name!r} is no name of a Debian package")
    return name


def _scripts(paths: tuple[str, ...]) -> list[BuildScript]:
    found, left = [], SCRIPT_BYTES_MAX
    for text in paths:
        path = Path(text)
        if not re.fullmatch(SCRIPT_NAME_PATTERN, path.name):
            raise UsageError(
                f"--run {text!r}: a script's name has letters, digits and _ . + - only"
            )
        try:
            with path.open("rb") as file:
                content = file.read(left + 1)
        except OSError as error:
            raise UsageError(f"--run {text!r} can't be read: {error.strerror}") from None
        left -= len(content)
        if left < 0:
            raise UsageError(
                f"--run {text!r}: all scripts together have more than {SCRIPT_BYTES_MAX >> 10} KiB"
            )
        found.append(BuildScript(path.name, content))
    return found


def _existing(context: Context, name: str) -> ImageView | None:
    try:
        view = context.call(ShowImage(name))
    except NotFound:
        return None
    return None if view.state is ImageState.BUILDING else view


def build(context: Context, request: BuildImage) -> ImageView:
    """Build with its progress, and a line of result."""
    progress = BuildLine(context)
    try:
        outcome = context.daemon.call(request, items=AnyEvent, on_item=progress.take)
    finally:
        progress.clear()
    view = outcome.image
    if not outcome.built:
        context.line(
            f"image {view.name} is up to date: built {view.built_at[:10]} from the same recipe "
            "(--force builds it anew)"
        )
        return view
    context.line(
        f"image {view.name} built in {progress.elapsed_s:.0f} s: {view.distribution}, "
        f"kernel {view.kernel_version}, {show_size(view.allocated_bytes)} on this host"
    )
    return view


NOTE = "note: "
"""Begins what a build program says to people."""


class BuildLine:
    """Where a build is: one line that changes for those who look on, else a line a step."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._begun = time.monotonic()
        self._step = "start"

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._begun

    def take(self, event: object) -> None:
        if not isinstance(event, BuildProgress):
            return
        self._step = printable(event.step) or self._step
        size = f", {show_size(event.written_bytes)}" if event.written_bytes else ""
        text = f"{self.elapsed_s:4.0f} s  {self._step}"
        if self._context.sink.live:
            self._context.status(f"{text} …{size}")
        elif event.step:
            self._context.note(f"{text}{size}")
        if event.line.startswith(NOTE):
            self.clear()
            self._context.note(event.line.removeprefix(NOTE))

    def clear(self) -> None:
        self._context.status("")


COMMAND = Command(
    path=("image", "build"),
    summary="Build an image from a recipe.",
    details="Does nothing when recipe and options are those of the newest build. VMs of an older "
    "build of the same name keep their disks. Ctrl-C ends the build and leaves nothing.",
    run=run,
    reply=ImageView,
    mutates=True,
    arguments=(Argument("name", "Name of the image.", completion=Completion.IMAGE),),
    options=(
        Option(
            "recipe",
            ("--recipe",),
            "Recipe to build from, or a recipe.toml's absolute path; the image's name by default.",
            completion=Completion.FILE,
        ),
        Option(
            "base",
            ("--from",),
            "Build on this image, or from this recipe where there is no such image.",
            metavar="IMAGE",
            completion=Completion.IMAGE,
        ),
        Option("size", ("--size",), "Size of the root file system, like 8G.", metavar="SIZE"),
        Option(
            "rootfs_tarball",
            ("--rootfs-tarball",),
            "For recipes that start from a root tarball, like void: the file.",
            metavar="PATH",
            completion=Completion.FILE,
        ),
        Option(
            "packages",
            ("--package",),
            "Add this Debian package; several times for several.",
            metavar="NAME",
            many=True,
        ),
        Option(
            "scripts",
            ("--run",),
            "Run this script as root in the tree, after all else; several times for several.",
            metavar="FILE",
            many=True,
            completion=Completion.FILE,
        ),
        Option("profile", ("--profile",), "Add this profile, like dev.", metavar="NAME"),
        Option("if_missing", ("--if-missing",), "Do nothing when it exists.", Kind.FLAG),
        Option("force", ("--force",), "Build it also when nothing has changed.", Kind.FLAG),
    ),
    examples=(
        "banger image build debian",
        "banger image build dev --recipe debian --profile dev --size 8G",
        "banger image build web --from debian --package nginx --run ./set-up.sh",
    ),
)
