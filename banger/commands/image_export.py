from __future__ import annotations

import time
from pathlib import Path

import msgspec

from banger.client.archive import archive_file
from banger.commands.context import Context
from banger.commands.declare import Argument, Command, Completion, Kind, Option
from banger.model.names import check_name
from banger.model.requests.exec import Output
from banger.model.requests.images import AnyExport, ExportImage, ExportSize
from banger.model.sizes import show_size

REDRAW_S = 0.2


class Exported(msgspec.Struct, frozen=True):
    name: str
    id: str
    file: str
    bytes: int


def run(context: Context, *, name: str, file: str, force: bool) -> None:
    request = ExportImage(check_name("image", name))
    begun, path = time.monotonic(), Path(file)
    total = done = 0
    drawn = 0.0
    with archive_file(path, replace=force) as write:

        def take(item: ExportSize | Output) -> None:
            nonlocal total, done, drawn
            if isinstance(item, ExportSize):
                total = item.bytes
                return
            write(item.data)
            done += len(item.data)
            if time.monotonic() - drawn > REDRAW_S:
                drawn = time.monotonic()
                part = min(100, done * 100 // max(total, 1))
                context.status(f"{drawn - begun:4.0f} s  {part} %, {show_size(done)}")

        try:
            view = context.daemon.call(request, items=AnyExport, on_item=take)
        finally:
            context.status("")
    size = path.stat().st_size
    context.document(Exported(view.name, view.id, str(path), size))
    context.line(
        f"image {name} exported to {path} in {time.monotonic() - begun:.0f} s: {show_size(size)}"
    )


COMMAND = Command(
    path=("image", "export"),
    summary="Write an image into one archive.",
    details="A tar archive with root.ext4 (without its holes), kernel, modules, the work seed, "
    "and image.json.",
    run=run,
    reply=Exported,
    mutates=True,
    arguments=(
        Argument("name", "Name of the image.", completion=Completion.IMAGE),
        Argument(
            "file", "Where to: FILE.tar, FILE.tar.zst or FILE.tar.gz.", completion=Completion.FILE
        ),
    ),
    options=(Option("force", ("--force",), "Replace the file when it exists.", Kind.FLAG),),
    examples=("banger image export debian debian.tar.zst",),
)
