from __future__ import annotations

from pathlib import Path

from banger.commands.context import Context
from banger.commands.declare import Command, Completion, Option
from banger.kernel.errors import UsageError
from banger.model.image import ImageView
from banger.model.names import check_name
from banger.model.requests.images import RegisterImage
from banger.model.sizes import show_size


def run(
    context: Context,
    *,
    name: str | None,
    rootfs: str | None,
    kernel: str | None,
    modules: str | None,
    work_seed: str | None,
) -> None:
    if name is None or rootfs is None:
        raise UsageError("both --name and --rootfs are needed")
    check_name("image", name)
    paths = {"--rootfs": rootfs, "--kernel": kernel, "--modules": modules}
    for flag, path in {**paths, "--work-seed": work_seed}.items():
        if path is not None and not Path(path).is_absolute():
            raise UsageError(
                f"{flag} {path!r} is not an absolute path", hint=f"it is {Path.cwd() / path}"
            )
    outcome = context.call(RegisterImage(name, rootfs, kernel, modules, work_seed))
    view = outcome.image
    context.document(view)
    if not outcome.new:
        context.line(f"image {name} is registered already, with these files")
        return
    context.line(
        f"image {name} registered: {view.distribution}, {show_size(view.disk_bytes)}, "
        f"kernel {view.kernel_version}"
    )
    if outcome.kernel_from:
        context.line(f"kernel and modules are those of the default image {outcome.kernel_from!r}")
    elif modules is None:
        context.line("no modules: the kernel must have virtio and ext4 built in")
    if work_seed is None:
        context.line("its work seed was made of its /root")
    context.line(f"{view.source} is only read; keep it as it is while VMs use it")


COMMAND = Command(
    path=("image", "register"),
    summary="Make an image of a root file system that you keep.",
    details="The file is only ever read: VMs write into overlays of it. Registering a name again "
    "replaces what it stands for; VMs made before keep what they were made from.",
    run=run,
    reply=ImageView,
    mutates=True,
    options=(
        Option("name", ("--name",), "Name of the image.", completion=Completion.IMAGE),
        Option(
            "rootfs",
            ("--rootfs",),
            "Its raw ext4 root file system.",
            metavar="FILE",
            completion=Completion.FILE,
        ),
        Option(
            "kernel",
            ("--kernel",),
            "Kernel to copy, vmlinux or bzImage; the default image's by default.",
            metavar="FILE",
            completion=Completion.FILE,
        ),
        Option(
            "modules",
            ("--modules",),
            "cpio archive to copy, of the modules that the kernel needs to boot.",
            metavar="FILE",
            completion=Completion.FILE,
        ),
        Option(
            "work_seed",
            ("--work-seed",),
            "Small ext4 to copy, that /root of each VM begins with.",
            metavar="FILE",
            completion=Completion.FILE,
        ),
    ),
    examples=("banger image register --name mine --rootfs /srv/mine.ext4",),
)
