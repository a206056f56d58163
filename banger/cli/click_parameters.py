"""From declared arguments and options to those of click."""

from __future__ import annotations

from typing import Any

import click

from banger.cli.parameters import metavar
from banger.model.command import Argument, Kind, Option


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

_METAVARS = {Kind.NUMBER: "N", Kind.SECONDS: "SECONDS"}


def click_argument(argument: Argument) -> click.Argument:
    return click.Argument(
        [argument.name],
        required=argument.required,
        nargs=-1 if argument.many else 1,
        type=_choice(argument.choices) if argument.choices else click.STRING,
        metavar=metavar(argument),
    )


def click_option(option: Option) -> click.Option:
    if option.kind is Kind.FLAG:
        return _flag(option)
    return click.Option(
        [*option.flags, option.name],
        type=_choice(option.choices) if option.kind is Kind.CHOICE else _TYPES[option.kind],
        help=option.help,
        default=option.default,
        metavar=option.metavar or _METAVARS.get(option.kind),
        multiple=option.many,
        hidden=option.hidden,
        show_default=option.default not in (None, ""),
    )


def _choice(choices: tuple[str, ...]) -> click.Choice[str]:
    """Of plain texts: of enumerations click would take the names, not the values."""
    return click.Choice(tuple(map(str, choices)))


def _flag(option: Option) -> click.Option:
    """click wants the two sides of a flag in pairs; what is left over stands alone."""
    if not option.off_flags:
        return click.Option(
            [*option.flags, option.name], is_flag=True, help=option.help, hidden=option.hidden
        )
    on, off = list(option.flags), list(option.off_flags)
    alone = on[: len(on) - len(off)] if len(on) > len(off) else []
    pairs = [f"{a}/{b}" for a, b in zip(on[len(alone) :], off, strict=False)]
    return click.Option(
        [*alone, *pairs, option.name],
        is_flag=True,
        default=None,
        help=option.help,
        hidden=option.hidden,
    )
