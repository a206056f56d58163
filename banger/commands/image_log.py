from __future__ import annotations

import msgspec

from banger.commands.context import Context
from banger.commands.declare import Argument, Command, Completion, Kind, Option
from banger.commands.vm_logs import harmless
from banger.model.names import check_name
from banger.model.requests.exec import AnyOutput, Output
from banger.model.requests.images import ReadBuildLog


class BuildLog(msgspec.Struct, frozen=True):
    name: str
    log: str


def run(context: Context, *, name: str, failed: bool) -> None:
    kept = bytearray()

    def take(item: Output) -> None:
        if context.json:
            kept.extend(item.data)
        else:
            context.sink.out_bytes(harmless(item.data))

    request = ReadBuildLog(check_name("image", name), failed=failed)
    context.daemon.call(request, items=AnyOutput, on_item=take)
    context.document(BuildLog(name, kept.decode(errors="replace")))


COMMAND = Command(
    path=("image", "log"),
    summary="Show what a build said.",
    details="Of the build that runs, else of the last one, be it good or failed.",
    run=run,
    reply=BuildLog,
    arguments=(Argument("name", "Name of the image.", completion=Completion.IMAGE),),
    options=(Option("failed", ("--failed",), "Of the last build that failed.", Kind.FLAG),),
    examples=(
        "banger image log debian",
        "banger image log debian --failed",
    ),
)
