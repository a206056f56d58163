from __future__ import annotations

from banger.commands.context import Context
from banger.commands.declare import Command
from banger.model.requests.plugins import ListPlugins, PluginView
from banger.model.text import printable


def run(context: Context) -> None:
    views = context.call(ListPlugins())
    context.document(views)
    context.table(
        ("NAME", "KIND", "VERSION", "STATE", "FROM", "SUMMARY"),
        [
            (
                printable(view.name),
                view.kind,
                printable(view.version) or "-",
                "on" if view.enabled else "off",
                printable(view.distribution),
                printable(view.summary if view.enabled else f"off: {view.reason}"),
            )
            for view in views
        ],
    )


COMMAND = Command(
    path=("plugin", "list"),
    summary="List capabilities, drivers and image builders.",
    details="Of one that is off the reason is shown. Capabilities are looked for when the "
    "daemon starts.",
    run=run,
    reply=list[PluginView],
    examples=("banger plugin list",),
)
