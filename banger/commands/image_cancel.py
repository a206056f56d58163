from __future__ import annotations

import msgspec

from banger.commands.context import Context
from banger.commands.declare import Argument, Command, Completion
from banger.model.names import check_name
from banger.model.requests.images import CancelBuild


class Cancelled(msgspec.Struct, frozen=True):
    name: str
    cancelled: bool


def run(context: Context, *, name: str) -> None:
    context.call(CancelBuild(check_name("image", name)))
    context.document(Cancelled(name, cancelled=True))
    context.line(f"the build of image {name} was cancelled")


COMMAND = Command(
    path=("image", "cancel"),
    summary="End a build that is under way.",
    details="Nothing of it is left but its log.",
    run=run,
    reply=Cancelled,
    mutates=True,
    arguments=(Argument("name", "Name of the image.", completion=Completion.IMAGE),),
    examples=("banger image cancel debian",),
)
