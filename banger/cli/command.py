"""A declared command as one of click."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click

from banger.cli.parameters import COMMON, HELP, click_argument, click_option, metavar
from banger.cli.plugins import Plugins
from banger.commands.declare import Command
from banger.kernel.errors import BangerError


class DeclaredCommand(click.Command):
    """Asks what plugins add to it only when the line has a flag it does not know, or for help."""

    def __init__(self, command: Command, plugins: Plugins) -> None:
        examples = "".join(f"\n\n\b\n  {example}" for example in command.examples)
        super().__init__(
            " ".join(("banger", *command.path)),
            help=f"{command.summary}\n\n{command.details}"
            + (examples and "\n\nExamples:" + examples),
            params=[
                *([] if command.dashes_split else map(click_argument, command.arguments)),
                *map(click_option, (*command.options, *COMMON)),
            ],
            add_help_option=False,
        )
        self._command = command
        self._plugins = plugins
        self._added: dict[str, list[click.Option]] = {}

    def parameters(self, words: list[str]) -> dict[str, Any]:
        """What the words say, with those of `COMMON` but help. Raises `click.UsageError`."""
        context = self.make_context(self.name, words)
        parameters: dict[str, Any] = context.params
        parameters.pop(HELP.name)
        if self._command.takes_options:
            parameters["options"] = self._plugins.given(parameters, self._added)
        return parameters

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        line = list(args)
        try:
            return self._parse(ctx, args)
        except click.NoSuchOption:
            if not self._command.takes_options or self._added:
                raise
            self._add_options()
            return self._parse(ctx, line)

    def _parse(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not self._command.dashes_split:
            return super().parse_args(ctx, args)
        at = args.index("--") if "--" in args else None
        # Without parameters for them, words that are no flags are left over.
        ctx.allow_extra_args = True
        words = super().parse_args(ctx, args[:at])
        ctx.args = []
        first, second = self._command.arguments
        split = (words, args[at + 1 :]) if at is not None else (words[:1], words[1:])
        ctx.params[first.name], ctx.params[second.name] = map(tuple, split)
        return []

    def page(self) -> str:
        """What ``--help`` prints."""
        return self.get_help(click.Context(self, info_name=self.name))

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        pieces = super().collect_usage_pieces(ctx)
        if self._command.dashes_split:
            first, second = map(metavar, self._command.arguments)
            pieces += [first, "--", second]
        return pieces

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        missing = ""
        if self._command.takes_options and not self._added:
            try:
                self._add_options()
            except BangerError as error:
                missing = str(error)
        added = {id(option) for options in self._added.values() for option in options}
        core = [param for param in self.get_params(ctx) if id(param) not in added]
        arguments = [(metavar(argument), argument.help) for argument in self._command.arguments]
        _write_section(formatter, "Arguments", arguments)
        _write_section(formatter, "Options", _records(ctx, core))
        for name, options in self._added.items():
            _write_section(formatter, f"Options of capability {name}", _records(ctx, options))
        if missing:
            formatter.write_paragraph()
            formatter.write_text(f"Options of capabilities are not shown: {missing}")

    def _add_options(self) -> None:
        taken = {flag for param in self.params for flag in (*param.opts, *param.secondary_opts)}
        self._added = {
            name: [click_option(option) for option in options]
            for name, options in self._plugins.options(taken).items()
        }
        for options in self._added.values():
            self.params += options


def _records(ctx: click.Context, params: Iterable[click.Parameter]) -> list[tuple[str, str]]:
    options = (param for param in params if isinstance(param, click.Option))
    return [record for option in options if (record := option.get_help_record(ctx)) is not None]


def _write_section(formatter: click.HelpFormatter, title: str, rows: list[tuple[str, str]]) -> None:
    if rows:
        with formatter.section(title):
            formatter.write_dl(rows)
