"""Turns the command table into click commands, each when it is wanted."""

from __future__ import annotations

from typing import Any

import click

import banger
from banger.commands.context import Context
from banger.commands.declare import Argument, Command, Kind, Option
from banger.commands.table import GROUPS, MODULES, load


class _Number(click.ParamType[Any]):
    """``what`` names the thing in the error."""

    def __init__(self, kind: type[int] | type[float], what: str) -> None:
        self.name = what
        self._kind = kind

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | float:
        try:
            return self._kind(value)
        except ValueError:
            self.fail(f"{value!r} is not {self.name}", param, ctx)


_TYPES: dict[Kind, click.ParamType[Any]] = {
    Kind.TEXT: click.STRING,
    Kind.NUMBER: _Number(int, "a whole number"),
    Kind.SECONDS: _Number(float, "a number of seconds"),
}

_JSON_HELP = "Print the result as JSON, and nothing else on stdout."
_DEBUG_HELP = "Show the traceback of an error."


class TableGroup(click.Group):
    """The commands whose path begins with ``prefix``."""

    def __init__(self, prefix: tuple[str, ...], **attributes: Any) -> None:
        super().__init__(**attributes)
        self._prefix = prefix

    def list_commands(self, ctx: click.Context) -> list[str]:
        depth = len(self._prefix)
        return list(dict.fromkeys(p[depth] for p in MODULES if p[:depth] == self._prefix))

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        path = (*self._prefix, name)
        if path in MODULES:
            return _command(load(path))
        if name in GROUPS and not self._prefix:
            return TableGroup((name,), name=name, help=GROUPS[name])
        return None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            import difflib

            name = " ".join((*self._prefix, args[0]))
            near = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1)
            question = f"; did you mean {near[0]!r}?" if near else ""
            ctx.fail(f"there is no command {name!r}{question}")


def root() -> click.Command:
    help_text = "Real Linux VMs with a name, a shell and a network, at the speed of a process."
    group = TableGroup((), name="banger", help=help_text)
    return click.version_option(banger.__version__, message="banger %(version)s")(group)


def _command(command: Command) -> click.Command:
    def invoke(*, json: bool, debug: bool, **parameters: Any) -> int:
        with Context(json=json) as context:
            return command.run(context, **parameters) or 0

    examples = "".join(f"\n\n\b\n  {example}" for example in command.examples)
    return click.Command(
        command.path[-1],
        callback=invoke,
        short_help=command.summary,
        help=f"{command.summary}\n\n{command.details}" + (examples and "\n\nExamples:" + examples),
        params=[
            *map(_argument, command.arguments),
            *map(_option, command.options),
            click.Option(["--json"], is_flag=True, help=_JSON_HELP),
            click.Option(["--debug"], is_flag=True, help=_DEBUG_HELP),
        ],
    )


def _argument(argument: Argument) -> click.Argument:
    return click.Argument(
        [argument.name],
        required=argument.required,
        nargs=-1 if argument.many else 1,
        type=click.UNPROCESSED if argument.many else click.STRING,
        metavar=_metavar(argument),
    )


def _metavar(argument: Argument) -> str:
    name = (argument.metavar or argument.name).upper() + ("..." if argument.many else "")
    return name if argument.required else f"[{name}]"


def _option(option: Option) -> click.Option:
    if option.kind is Kind.FLAG:
        return click.Option([*option.flags, option.name], is_flag=True, help=option.help)
    kind = click.Choice(option.choices) if option.kind is Kind.CHOICE else _TYPES[option.kind]
    return click.Option(
        [*option.flags, option.name],
        type=kind,
        help=option.help,
        default=option.default,
        metavar=option.metavar or None,
        multiple=option.many,
        hidden=option.hidden,
        show_default=option.default is not None,
    )
