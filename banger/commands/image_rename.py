from __future__ import annotations

from banger.commands.context import Context
from banger.commands.declare import Argument, Command, Completion
from banger.model.image import ImageView
from banger.model.names import check_name
from banger.model.requests.images import RenameImage


def run(context: Context, *, old: str, new: str) -> None:
    view = context.call(RenameImage(check_name("image", old), check_name("image", new)))
    context.document(view)
    context.line(f"image {old} is now {view.name}")


COMMAND = Command(
    path=("image", "rename"),
    summary="Give an image another name.",
    details="Its VMs keep working, and go on showing the name they were made from.",
    run=run,
    reply=ImageView,
    mutates=True,
    arguments=(
        Argument("old", "Its name.", completion=Completion.IMAGE),
        Argument("new", "Its name from now on."),
    ),
    examples=("banger image rename debian bookworm",),
)
