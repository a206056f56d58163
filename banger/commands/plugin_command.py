"""Commands of plugins. They run in the daemon; here their output is shown."""

from __future__ import annotations

from typing import Any

import msgspec

from banger.client.lines import readable
from banger.commands.context import Context
from banger.commands.declare import Command
from banger.model.command import Syntax
from banger.model.requests.exec import AnyOutput, ErrorOutput, Output
from banger.model.requests.plugins import RunPluginCommand

_OURS = {"--json", "--debug", "--help"}


def of_plugin(syntax: Syntax) -> Command:
    """The command, run by asking the daemon for it. Flags that every command has stay ours."""

    def run(context: Context, **parameters: Any) -> int:
        return _run(context, RunPluginCommand(list(syntax.path), parameters))

    options = [
        msgspec.structs.replace(option, flags=tuple(f for f in option.flags if f not in _OURS))
        for option in syntax.options
    ]
    return Command(
        path=syntax.path,
        summary=syntax.summary,
        arguments=syntax.arguments,
        options=tuple(option for option in options if option.flags),
        details=syntax.details,
        examples=syntax.examples,
        run=run,
    )


def _run(context: Context, request: RunPluginCommand) -> int:
    def show(item: Output | ErrorOutput) -> None:
        if not context.json:
            write = context.sink.out if isinstance(item, Output) else context.sink.err
            write(readable(item.data))

    ended = context.daemon.call(request, items=AnyOutput, on_item=show)
    if context.json:
        context.document(msgspec.Raw(ended.document))
    return ended.code
