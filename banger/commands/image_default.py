from __future__ import annotations

from banger.commands.context import Context
from banger.commands.declare import Argument, Command, Completion, Kind, Option
from banger.kernel.errors import UsageError
from banger.model.image import DefaultImage
from banger.model.names import check_name
from banger.model.requests.images import ChooseDefaultImage


def run(context: Context, *, name: str | None, clear: bool) -> None:
    if name is not None and clear:
        raise UsageError("a name and --clear exclude each other")
    if name is not None:
        check_name("image", name)
    default = context.call(ChooseDefaultImage(name, clear))
    context.document(default)
    context.line(default.name)
    if default.origin == "setting":
        context.note("it is the setting vm.image; no default was chosen")
    if not default.exists:
        context.note("there is no image of that name")


COMMAND = Command(
    path=("image", "default"),
    summary="Show or choose the image that VMs are made from.",
    details="What is chosen here goes before the setting vm.image, until that image is deleted.",
    run=run,
    reply=DefaultImage,
    mutates=True,
    arguments=(Argument("name", "Image to choose.", required=False, completion=Completion.IMAGE),),
    options=(Option("clear", ("--clear",), "Go back to the setting vm.image.", Kind.FLAG),),
    examples=(
        "banger image default",
        "banger image default debian",
        "banger image default --clear",
    ),
)
