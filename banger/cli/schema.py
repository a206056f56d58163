from __future__ import annotations

import types
import typing
from collections.abc import Iterable
from typing import Any

import msgspec

import banger.cli.tree as tree
from banger.cli.plugins import Plugins
from banger.commands.context import Context
from banger.commands.declare import Argument, Command, Completion
from banger.commands.table import HIDDEN, MODULES, load
from banger.kernel.errors import ErrorDocument, UsageError

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def run(context: Context, *, words: tuple[str, ...]) -> None:
    if words:
        command, _ = tree.find(list(words), Plugins(context.session.interface))
        if command.reply is None:
            name = " ".join(command.path)
            raise UsageError(f"'banger {name}' has no --json output that is known beforehand")
        schema = schema_of([command])
    else:
        schema = schema_of(load(path) for path in MODULES if path not in HIDDEN)
    context.sink.out(msgspec.json.format(msgspec.json.encode(schema)).decode() + "\n")


def schema_of(commands: Iterable[Command]) -> dict[str, Any]:
    """What ``--json`` of these prints: of one its result or the error, of several each by name."""
    documented = [command for command in commands if command.reply is not None]
    kinds = [kind for command in documented for kind in _kinds(command.reply)]
    found, definitions = msgspec.json.schema_components(
        [*kinds, ErrorDocument], ref_template="#/$defs/{name}"
    )
    *left, error = found
    results: dict[str, Any] = {}
    for command in documented:
        own = [left.pop(0) for _ in _kinds(command.reply)]
        results[" ".join(command.path)] = {"anyOf": [*own, error]}
    head = {"$schema": DIALECT, "$defs": definitions}
    if len(documented) == 1:
        (command,) = documented
        (result,) = results.values()
        each = "each line of " if command.streams else ""
        return {**head, "title": f"{each}banger {' '.join(command.path)} --json", **result}
    return {**head, "title": "banger", "commands": results, "error": error}


def _kinds(reply: Any) -> tuple[Any, ...]:
    """The members of a union: msgspec wants to tell structs in one apart when decoding."""
    if typing.get_origin(reply) in (types.UnionType, typing.Union):
        return typing.get_args(reply)
    return (reply,)


COMMAND = Command(
    path=("schema",),
    summary="Print the JSON Schema of what --json prints.",
    details="Of one command, a schema that its documents fit: the result, or the error. Without "
    "a command, those of all by name below 'commands'.",
    run=run,
    reply=dict[str, Any],
    arguments=(
        Argument(
            "words",
            "The command.",
            required=False,
            many=True,
            metavar="COMMAND",
            completion=Completion.COMMAND,
        ),
    ),
    examples=("banger schema vm show", "banger schema"),
)
