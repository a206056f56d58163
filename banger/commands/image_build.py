from __future__ import annotations

import sys
import time

from banger.commands.context import Context
from banger.commands.declare import Argument, Command, Completion, Kind, Option
from banger.kernel.errors import NotFound
from banger.model.events import AnyEvent, BuildProgress
from banger.model.image import ImageView
from banger.model.names import check_name
from banger.model.requests import BuildImage, ShowImage
from banger.model.sizes import show_size


def run(context: Context, *, name: str, recipe: str | None, if_missing: bool) -> None:
    check_name("image", name)
    view = _existing(context, name) if if_missing else None
    if view is None:
        view = _build(context, name, check_name("recipe", recipe or name))
    else:
        context.line(f"image {name} is there already")
    context.document(view)


def _existing(context: Context, name: str) -> ImageView | None:
    try:
        return context.call(ShowImage(name))
    except NotFound:
        return None


def _build(context: Context, name: str, recipe: str) -> ImageView:
    begun = time.monotonic()
    live = sys.stderr.isatty() and not context.json

    def take(event: object) -> None:
        if isinstance(event, BuildProgress) and event.step and not context.json:
            elapsed = f"{time.monotonic() - begun:4.0f} s  "
            if live:
                sys.stderr.write(f"\r\x1b[K{elapsed}{event.step} …")
                sys.stderr.flush()
            else:
                context.note(f"{elapsed}{event.step}")

    try:
        view = context.daemon.call(BuildImage(name, recipe), items=AnyEvent, on_item=take)
    finally:
        if live:
            sys.stderr.write("\r\x1b[K")
    context.line(
        f"image {name} built in {time.monotonic() - begun:.0f} s: {view.distribution}, "
        f"kernel {view.kernel_version}, {show_size(view.allocated_bytes)} on this host"
    )
    return view


COMMAND = Command(
    path=("image", "build"),
    summary="Build an image from a recipe.",
    details="VMs of an older build of the same name keep their disks.",
    run=run,
    mutates=True,
    arguments=(Argument("name", "Name of the image.", completion=Completion.IMAGE),),
    options=(
        Option("recipe", ("--recipe",), "Recipe to build from; the image's name by default."),
        Option("if_missing", ("--if-missing",), "Do nothing when it exists.", Kind.FLAG),
    ),
    examples=("banger image build debian",),
)
