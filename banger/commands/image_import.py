from __future__ import annotations

from pathlib import Path

from banger.commands.context import Context
from banger.commands.declare import Argument, Command, Completion, Kind, Option
from banger.commands.image_build import BuildLine
from banger.kernel.errors import UsageError
from banger.model.events import AnyEvent
from banger.model.image import ImageInit, ImageView, ImportFormat
from banger.model.names import check_name
from banger.model.requests.images import ImportImage
from banger.model.sizes import parse_size, show_size

FORMATS = tuple(ImportFormat)


def run(
    context: Context,
    *,
    format: str,
    path: str,
    name: str | None,
    size: str | None,
    max_size: str,
    ref: str,
    init: str | None,
    force: bool,
) -> None:
    if name is None:
        raise UsageError("--name is needed")
    check_name("image", name)
    if not Path(path).is_absolute():
        raise UsageError(f"{path!r} is not an absolute path", hint=f"it is {Path.cwd() / path}")
    request = ImportImage(
        name,
        ImportFormat(format),
        path,
        max_bytes=parse_size(max_size),
        size_bytes=parse_size(size) if size is not None else None,
        reference=ref,
        init=ImageInit(init) if init is not None else None,
        force=force,
    )
    progress = BuildLine(context)
    try:
        outcome = context.daemon.call(request, items=AnyEvent, on_item=progress.take)
    finally:
        progress.clear()
    context.document(outcome.image)
    if not outcome.built:
        context.line(f"image {name} is imported already (--force does it anew)")
        return
    _tell(context, outcome.image, progress.elapsed_s)


def _tell(context: Context, view: ImageView, elapsed_s: float) -> None:
    context.line(
        f"image {view.name} imported in {elapsed_s:.0f} s: {view.distribution}, "
        f"{show_size(view.disk_bytes)}, kernel {view.kernel_version}"
    )
    if view.init is ImageInit.IMAGE:
        return
    context.line("no init of its own runs in it: the guest agent is the first process")
    if view.process is not None and view.process.argv:
        context.line("its entrypoint is started with each VM, unless --no-entrypoint is given")


COMMAND = Command(
    path=("image", "import"),
    summary="Make an image of an OCI image or a root tarball.",
    details="FORMAT is 'oci', for an OCI layout directory or an archive of 'docker save' or "
    "'podman save', or 'tar', for a root file system as .tar, .tar.gz, .tar.zst or .tar.xz. "
    "The kernel is the default image's. Importing a name again replaces what it stands for.",
    run=run,
    reply=ImageView,
    mutates=True,
    arguments=(
        Argument("format", "oci or tar.", choices=FORMATS),
        Argument("path", "What to import.", completion=Completion.FILE),
    ),
    options=(
        Option("name", ("--name",), "Name of the image.", completion=Completion.IMAGE),
        Option("size", ("--size",), "Size of its disk; by default what suits it.", metavar="SIZE"),
        Option(
            "max_size",
            ("--max-size",),
            "Refuse more than this, unpacked.",
            metavar="SIZE",
            default="16G",
        ),
        Option("ref", ("--ref",), "Which image, where there are several.", default=""),
        Option(
            "init",
            ("--init",),
            "Run the image's init, or only the guest agent; by default what suits it.",
            Kind.CHOICE,
            choices=tuple(ImageInit),
        ),
        Option("force", ("--force",), "Import also when nothing has changed.", Kind.FLAG),
    ),
    examples=(
        "banger image import tar /srv/alpine-rootfs.tar.gz --name alpine",
        "banger image import oci /srv/nginx.tar --name nginx",
    ),
)
