from __future__ import annotations

import shutil
import sys
import time

from banger.commands.context import Context
from banger.commands.declare import Argument, Command, Completion, Kind, Option
from banger.kernel.errors import NotFound
from banger.model.events import AnyEvent, BuildProgress
from banger.model.image import ImageState, ImageView
from banger.model.names import check_name
from banger.model.requests import BuildImage, ShowImage
from banger.model.sizes import show_size
from banger.model.text import printable


def run(context: Context, *, name: str, recipe: str | None, if_missing: bool, force: bool) -> None:
    check_name("image", name)
    view = _existing(context, name) if if_missing else None
    if view is None:
        request = BuildImage(name, check_name("recipe", recipe or name), force=force)
        view = _build(context, request)
    else:
        context.line(f"image {name} is there already")
    context.document(view)


def _existing(context: Context, name: str) -> ImageView | None:
    try:
        view = context.call(ShowImage(name))
    except NotFound:
        return None
    return None if view.state is ImageState.BUILDING else view


def _build(context: Context, request: BuildImage) -> ImageView:
    progress = BuildLine(live=sys.stderr.isatty() and not context.json, quiet=context.json)
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


class BuildLine:
    """Where a build is: one line that changes on a terminal, else a line a step."""

    def __init__(self, *, live: bool, quiet: bool) -> None:
        self._live = live
        self._quiet = quiet
        self._begun = time.monotonic()
        self._step = "start"

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._begun

    def take(self, event: object) -> None:
        if not isinstance(event, BuildProgress) or self._quiet:
            return
        self._step = printable(event.step) or self._step
        size = f", {show_size(event.written_bytes)}" if event.written_bytes else ""
        text = f"{self.elapsed_s:4.0f} s  {self._step}"
        if self._live:
            width = shutil.get_terminal_size().columns - 1
            sys.stderr.write(f"\r\x1b[K{f'{text} …{size}'[:width]}")
        elif event.step:
            sys.stderr.write(f"{text}{size}\n")
        sys.stderr.flush()

    def clear(self) -> None:
        if self._live:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


COMMAND = Command(
    path=("image", "build"),
    summary="Build an image from a recipe.",
    details="Does nothing when recipe and options are those of the newest build. VMs of an older "
    "build of the same name keep their disks. Ctrl-C ends the build and leaves nothing.",
    run=run,
    mutates=True,
    arguments=(Argument("name", "Name of the image.", completion=Completion.IMAGE),),
    options=(
        Option("recipe", ("--recipe",), "Recipe to build from; the image's name by default."),
        Option("if_missing", ("--if-missing",), "Do nothing when it exists.", Kind.FLAG),
        Option("force", ("--force",), "Build it also when nothing has changed.", Kind.FLAG),
    ),
    examples=("banger image build debian", "banger image build debian --force"),
)
