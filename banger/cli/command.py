"""A declared command as one of click.

Here and in what this imports click is loaded, which takes its time: whoever needs no command
parsed or explained does without.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import click

from banger.cli.click_parameters import click_argument, click_option
from banger.cli.parameters import COMMON, HELP, flags_of, metavar
from banger.cli.plugins import Plugins
from banger.commands.declare import Command
from banger.kernel.errors import BangerError, UsageError

DASHES = "--"
WIDTH = 78
"""Of pages of help, in every terminal."""
SOUGHT_WORDS = 50
"""In a longer line the word at fault is not looked for."""


class DeclaredCommand(click.Command):
    """Asks what plugins add to it only when the line has a flag it does not know, or for help."""

    def __init__(self, command: Command, plugins: Plugins) -> None:
        super().__init__(
            " ".join(("banger", *command.path)),
            params=[
                *([] if command.dashes_split else map(click_argument, command.arguments)),
                *map(click_option, (*command.options, *COMMON)),
            ],
            add_help_option=False,
        )
        self._command = command
        self._plugins = plugins
        self._added: dict[str, list[click.Option]] = {}

    def parameters(self, words: Sequence[str]) -> dict[str, Any]:
        """What the words say, with those of `COMMON` but help.

        Raises `UsageError` with the word at fault, where one is.
        """
        try:
            parameters = self._parse(words)
        except click.UsageError as error:
            raise UsageError(
                self._told(error),
                hint=f"see '{self.name} --help'",
                word=self._at_fault(error, words),
            ) from None
        parameters.pop(HELP.name)
        if self._command.takes_options:
            parameters["options"] = self._plugins.given(parameters, self._added)
        return parameters

    # --- parsing ---

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not self._command.dashes_split:
            return super().parse_args(ctx, args)
        at = args.index(DASHES) if DASHES in args else None
        # Without parameters for them, words that are no flags are left over.
        ctx.allow_extra_args = True
        words = super().parse_args(ctx, args[:at])
        ctx.args = []
        first, second = self._command.arguments
        split = (words, args[at + 1 :]) if at is not None else (words[:1], words[1:])
        ctx.params[first.name], ctx.params[second.name] = map(tuple, split)
        return []

    def _parse(self, words: Sequence[str]) -> dict[str, Any]:
        try:
            return self.make_context(self.name, list(words)).params
        except click.NoSuchOption:
            if not self._command.takes_options or self._added:
                raise
            self._add_options()
            return self.make_context(self.name, list(words)).params

    def _add_options(self) -> None:
        for name, options in self._plugins.options(flags_of(self._command)).items():
            self._added[name] = [click_option(option) for option in options]
            self.params += self._added[name]

    # --- errors ---

    def _told(self, error: click.UsageError) -> str:
        if isinstance(error, click.NoSuchOption):
            shown = [flag for option in self._options() for flag in _flags(option)]
            near = [flag for flag in error.possibilities or () if flag in shown]
            question = f"; did you mean {near[0]!r}?" if near else ""
            return f"no such option {error.option_name!r}{question}"
        text = " ".join(error.format_message().split()).rstrip(".")
        return text[:1].lower() + text[1:]

    def _at_fault(self, error: click.UsageError, words: Sequence[str]) -> int | None:
        """click does not say: the first word with which it has the same to complain of."""
        if isinstance(error, click.MissingParameter) or len(words) > SOUGHT_WORDS:
            return None
        last = len(words) - 1
        if isinstance(error, click.BadOptionUsage) and self._complaint(words[:last]) is None:
            return last  # a flag without its value; it may well stand further in front with one
        ends = range(1, len(words) + 1)
        return next((e - 1 for e in ends if _same(self._complaint(words[:e]), error)), None)

    def _complaint(self, words: Sequence[str]) -> click.UsageError | None:
        try:
            self._parse(words)
        except click.UsageError as error:
            return error
        return None

    # --- help ---

    def page(self) -> str:
        """What ``--help`` prints."""
        return self.get_help(click.Context(self, info_name=self.name, terminal_width=WIDTH))

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        pieces = super().collect_usage_pieces(ctx)
        if self._command.dashes_split:
            first, second = map(metavar, self._command.arguments)
            pieces += [first, DASHES, second]
        return pieces

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.indentation():
            for text in filter(None, (self._command.summary, self._command.details)):
                formatter.write_paragraph()
                formatter.write_text(text)
            if self._command.examples:
                with formatter.section("Examples"):
                    for example in self._command.examples:
                        formatter.write(f"{'':{formatter.current_indent}}{example}\n")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        own, missing = list(self._options()), ""
        if self._command.takes_options:
            try:
                self._add_options()
            except BangerError as error:
                missing = str(error)
        arguments = [(metavar(argument), argument.help) for argument in self._command.arguments]
        _write_section(formatter, "Arguments", arguments)
        _write_section(formatter, "Options", _records(ctx, own))
        for name, options in self._added.items():
            _write_section(formatter, f"Options of capability {name}", _records(ctx, options))
        if missing:
            formatter.write_paragraph()
            formatter.write_text(f"Options of capabilities are not shown: {missing}")

    def _options(self) -> Iterable[click.Option]:
        return (param for param in self.params if isinstance(param, click.Option))


def _same(one: click.UsageError | None, other: click.UsageError) -> bool:
    """About words too many it is the same, however many they are."""
    if type(one) is not type(other) or one is None:
        return False
    return type(one) is click.UsageError or one.format_message() == other.format_message()


def _flags(option: click.Option) -> list[str]:
    return [] if option.hidden else [*option.opts, *option.secondary_opts]


def _records(ctx: click.Context, options: Iterable[click.Option]) -> list[tuple[str, str]]:
    return [record for option in options if (record := option.get_help_record(ctx)) is not None]


def _write_section(formatter: click.HelpFormatter, title: str, rows: list[tuple[str, str]]) -> None:
    if rows:
        with formatter.section(title):
            formatter.write_dl(rows)
