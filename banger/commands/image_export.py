from __future__ import annotations

import sys
import time
from pathlib import Path

from banger.client.archive import archive_file
from banger.commands.context import Context
from banger.commands.declare import Argument, Command, Completion, Kind, Option
from banger.model.names import check_name
from banger.model.requests import AnyExport, ExportImage, ExportSize, Output
from banger.model.sizes import show_size

REDRAW_S = 0.2


def run(context: Context, *, name: str, file: str, force: bool) -> None:
    request = ExportImage(check_name("image", name))
    live = sys.stderr.isatty() and not context.json
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
            if live and time.monotonic() - drawn > REDRAW_S:
                drawn = time.monotonic()
                part = min(100, done * 100 // max(total, 1))
                sys.stderr.write(f"\r\x1b[K{drawn - begun:4.0f} s  {part} %, {show_size(done)}")
                sys.stderr.flush()

        try:
            view = context.daemon.call(request, items=AnyExport, on_item=take)
        finally:
            if live:
                sys.stderr.write("\r\x1b[K")
    size = path.stat().st_size
    context.document({"name": view.name, "id": view.id, "file": str(path), "bytes": size})
    context.line(
        f"image {name} exported to {path} in {time.monotonic() - begun:.0f} s: {show_size(size)}"
    )


COMMAND = Command(
    path=("image", "export"),
    summary="Write an image into one archive.",
    details="A tar archive with root.ext4 (without its holes), kernel, modules, the work seed, "
    "and image.json.",
    run=run,
    arguments=(
        Argument("name", "Name of the image.", completion=Completion.IMAGE),
        Argument(
            "file", "Where to: FILE.tar, FILE.tar.zst or FILE.tar.gz.", completion=Completion.FILE
        ),
    ),
    options=(Option("force", ("--force",), "Replace the file when it exists.", Kind.FLAG),),
    examples=("banger image export debian debian.tar.zst",),
)
