from __future__ import annotations

import msgspec

import banger
from banger.commands.context import Context
from banger.commands.declare import Command


class Version(msgspec.Struct, frozen=True):
    version: str


def run(context: Context) -> None:
    context.document(Version(banger.__version__))
    context.line(f"banger {banger.__version__}")


COMMAND = Command(
    path=("version",),
    summary="Show the version.",
    run=run,
    reply=Version,
    examples=("banger version",),
)
