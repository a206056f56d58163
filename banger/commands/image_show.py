from __future__ import annotations

from banger.commands.context import Context
from banger.commands.declare import Argument, Command, Completion
from banger.model.names import check_name
from banger.model.requests import ShowImage
from banger.model.sizes import show_size


def run(context: Context, *, name: str) -> None:
    view = context.call(ShowImage(check_name("image", name)))
    context.document(view)
    context.details(
        [
            ("name", view.name),
            ("system", view.distribution),
            ("kernel", view.kernel_version),
            ("disk", show_size(view.disk_bytes)),
            ("on host", show_size(view.allocated_bytes)),
            ("recipe", view.recipe),
            ("built", view.built_at),
            ("vms", ", ".join(view.vms) or "-"),
            ("id", view.id),
            ("path", view.path),
        ]
    )


COMMAND = Command(
    path=("image", "show"),
    summary="Show one image.",
    run=run,
    arguments=(Argument("name", "Name of the image.", completion=Completion.IMAGE),),
)
