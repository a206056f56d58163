"""Turns the command table, and what plugins add to it, into click commands when wanted."""

from __future__ import annotations

from typing import Any

import click

import banger
from banger.cli.command import DeclaredCommand
from banger.cli.plugins import Plugins
from banger.commands.plugin_command import of_plugin
from banger.commands.table import GROUPS, MODULES, load
from banger.kernel.errors import BangerError


class TableGroup(click.Group):
    """The commands whose path begins with ``prefix``."""

    def __init__(self, prefix: tuple[str, ...], plugins: Plugins, **attributes: Any) -> None:
        super().__init__(**attributes)
        self._prefix = prefix
        self._plugins = plugins
        self._missing = ""

    def list_commands(self, ctx: click.Context) -> list[str]:
        depth = len(self._prefix)
        names = [p[depth] for p in MODULES if p[:depth] == self._prefix]
        try:
            names += self._plugins.below(self._prefix)
        except BangerError as error:
            self._missing = str(error)
        return list(dict.fromkeys(names))

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        path = (*self._prefix, name)
        if path in MODULES:
            return DeclaredCommand(load(path), self._plugins)
        if name in GROUPS and not self._prefix:
            return TableGroup(path, self._plugins, name=name, help=GROUPS[name])
        syntax = self._plugins.command(path)
        if syntax is not None:
            return DeclaredCommand(of_plugin(syntax), self._plugins)
        below = self._plugins.below(path)
        if below:
            summary = f"Of a plugin: {', '.join(below)}."
            return TableGroup(path, self._plugins, name=name, help=summary)
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_commands(ctx, formatter)
        if self._missing:
            formatter.write_paragraph()
            formatter.write_text(f"Commands of plugins are not shown: {self._missing}")

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
    group = TableGroup((), Plugins(), name="banger", help=help_text)
    return click.version_option(banger.__version__, message="banger %(version)s")(group)
