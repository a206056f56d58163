from __future__ import annotations

from banger.commands.context import Context
from banger.commands.declare import Command


def run(context: Context) -> None:
    origins = context.settings.origins.values()
    context.document(
        [{"key": o.key, "value": o.value, "origin": o.origin, "help": o.help} for o in origins]
    )
    context.table(
        ("SETTING", "VALUE", "ORIGIN"),
        [(o.key, str(o.value) or "''", o.origin) for o in origins],
    )


COMMAND = Command(
    path=("config", "show"),
    summary="Show every setting, its value and where that comes from.",
    run=run,
)
