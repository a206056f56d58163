from __future__ import annotations

import os
import sys

from banger.commands.context import Context
from banger.commands.declare import VM_NAME, Command, Kind, Option
from banger.model.names import check_name
from banger.model.requests import AnyOutput, Output, ReadConsole


def run(context: Context, *, name: str, follow: bool, raw: bool) -> None:
    request = ReadConsole(check_name("VM", name), follow and not context.json)
    kept = bytearray()

    def take(item: Output) -> None:
        if context.json:
            kept.extend(item.data)
        else:
            os.write(sys.stdout.fileno(), item.data if raw else harmless(item.data))

    context.daemon.call(request, items=AnyOutput, on_item=take)
    context.document({"name": name, "console": kept.decode(errors="replace")})


def harmless(data: bytes) -> bytes:
    """What a guest printed, without the control characters that a terminal would obey."""
    return bytes(byte for byte in data if (byte >= 0x20 and byte != 0x7F) or byte in b"\n\t")


COMMAND = Command(
    path=("vm", "logs"),
    summary="Show a VM's console.",
    run=run,
    arguments=(VM_NAME,),
    options=(
        Option("follow", ("-f", "--follow"), "Go on with what comes.", Kind.FLAG),
        Option("raw", ("--raw",), "Print control characters as they are.", Kind.FLAG),
    ),
)
