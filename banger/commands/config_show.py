from __future__ import annotations

import os

from banger.commands.context import Context
from banger.commands.declare import SETTINGS, Command
from banger.model.settings import Origin
from banger.settings import load_settings, parse_flags


def run(context: Context, *, flags: tuple[str, ...]) -> None:
    given = parse_flags(flags)
    # A mistake in the settings of the core is told even when plugins can't be found for it.
    load_settings(context.paths.config_file, os.environ, given)
    rows = context.session.interface().settings
    settings = load_settings(context.paths.config_file, os.environ, given, plugins=rows)
    origins = settings.origins.values()
    context.document(list(origins))
    context.table(
        ("SETTING", "VALUE", "ORIGIN"),
        [(o.key, str(o.value) or "''", o.origin) for o in origins],
    )


COMMAND = Command(
    path=("config", "show"),
    summary="Show every setting, its value and where that comes from.",
    details="These are the settings a daemon started here and now would have; one that runs "
    "keeps those of its start.",
    run=run,
    reply=list[Origin],
    options=(SETTINGS,),
    examples=(
        "banger config show",
        "banger config show --set vm.memory_mib=512",
    ),
)
