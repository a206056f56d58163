from __future__ import annotations

import banger
from banger.commands.context import Context
from banger.commands.declare import Command


def run(context: Context) -> None:
    context.document({"version": banger.__version__})
    context.line(f"banger {banger.__version__}")


COMMAND = Command(path=("version",), summary="Show the version.", run=run)
