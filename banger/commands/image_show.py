from __future__ import annotations

import shlex

from banger.commands.context import Context
from banger.commands.declare import Argument, Command, Completion
from banger.commands.image_list import progress_of
from banger.model.image import ImageInit, ImageView
from banger.model.names import check_name
from banger.model.requests.images import ShowImage
from banger.model.seed import SeedView
from banger.model.sizes import show_size
from banger.model.text import printable


def run(context: Context, *, name: str) -> None:
    view = context.call(ShowImage(check_name("image", name)))
    context.document(view)
    context.details(
        [
            ("name", view.name + (" (the default)" if view.default else "")),
            ("state", view.state + (f": {view.problem}" if view.problem else "")),
            *([("building", progress_of(view))] if view.building else []),
            ("system", view.distribution or "-"),
            ("kernel", view.kernel_version or "-"),
            ("disk", show_size(view.disk_bytes)),
            ("on host", show_size(view.allocated_bytes)),
            ("kind", _kind(view)),
            ("recipe" if view.recipe else "file", view.source),
            ("init", "the image's" if view.init is ImageInit.IMAGE else "the guest agent"),
            *_process(view),
            ("key", view.key or "-"),
            ("work seed", "yes" if view.work_seed else "no; made with its first VM"),
            ("warm seeds", ", ".join(map(_seed, view.seeds)) or "none"),
            ("built" if view.managed else "registered", view.built_at or "-"),
            ("vms", ", ".join(view.vms) or "-"),
            ("id", view.id or "-"),
            ("path", view.path or "-"),
        ]
    )


def _kind(view: ImageView) -> str:
    if view.imported is not None:
        return f"managed, imported: {view.imported.format} {view.imported.digest}"
    return "managed" if view.managed else "registered: the file is not banger's"


def _seed(seed: SeedView) -> str:
    shape = f"{seed.vcpus} vCPUs, {seed.memory_mib} MiB"
    problem = f"; {seed.problem}" if seed.problem else ""
    return f"{shape} ({show_size(seed.allocated_bytes)} on host{problem})"


def _process(view: ImageView) -> list[tuple[str, str]]:
    process = view.process
    if process is None:
        return []
    return [
        ("entrypoint", printable(shlex.join(process.argv)) or "-"),
        ("env", printable(" ".join(f"{k}={v}" for k, v in process.environment.items())) or "-"),
        ("user", printable(process.user) or "root"),
        ("workdir", printable(process.workdir) or "-"),
    ]


COMMAND = Command(
    path=("image", "show"),
    summary="Show one image.",
    run=run,
    reply=ImageView,
    arguments=(Argument("name", "Name of the image.", completion=Completion.IMAGE),),
    examples=("banger image show debian",),
)
