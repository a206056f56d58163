from __future__ import annotations

from collections.abc import Iterable, Iterator

import banger.cli.tree as tree
from banger.cli.page import Page
from banger.cli.parameters import COMMON, flags_of, metavar, usage_of
from banger.cli.parser import DASHES
from banger.cli.plugins import Plugins
from banger.commands.context import Context
from banger.commands.declare import Argument, Command, Completion, Option
from banger.commands.table import GROUPS, SUBGROUPS
from banger.kernel.errors import BangerError
from banger.model.command import Syntax

SUMMARY = "Real Linux VMs with a name, a shell and a network, at the speed of a process."


def run(context: Context, *, words: tuple[str, ...]) -> None:
    plugins = Plugins(context.session.interface)
    if context.json:
        context.document([_syntax(command) for command in _commands(words, plugins)])
        return
    context.line(help_text(words, plugins))


def help_text(path: tuple[str, ...], plugins: Plugins) -> str:
    """Of a command, or of a group: () is banger itself. Raises `UsageError`."""
    try:
        command, _ = tree.find(list(path), plugins)
    except tree.Group:
        return _group_text(path, plugins)
    return _command_text(command, plugins)


def summary_of(path: tuple[str, ...], plugins: Plugins) -> str:
    """One line about a command or a group."""
    command = tree.command_at(path, plugins)
    if command is not None:
        return command.summary
    if len(path) == 1 and path[0] in GROUPS:
        return GROUPS[path[0]]
    if path in SUBGROUPS:
        return SUBGROUPS[path]
    return f"Of a plugin: {', '.join(plugins.below(path))}."


def _command_text(command: Command, plugins: Plugins) -> str:
    added: dict[str, list[Option]] = {}
    missing = ""
    if command.takes_options:
        try:
            added = plugins.options(flags_of(command))
        except BangerError as error:
            missing = f"Options of capabilities are not shown: {error}"
    page = Page()
    arguments = (f" {DASHES} " if command.dashes_split else " ").join(
        map(metavar, command.arguments)
    )
    page.usage(" ".join(("banger", *command.path)), f"[OPTIONS] {arguments}".rstrip())
    page.paragraph(command.summary)
    page.paragraph(command.details)
    page.lines("Examples", command.examples)
    page.terms("Arguments", ((metavar(argument), argument.help) for argument in command.arguments))
    page.terms("Options", _rows((*command.options, *COMMON)))
    for name, options in added.items():
        page.terms(f"Options of capability {name}", _rows(options))
    page.paragraph(missing, indent=0)
    return page.text()


def _rows(options: Iterable[Option]) -> Iterator[tuple[str, str]]:
    for option in options:
        if not option.hidden:
            default = f"  [default: {option.default}]" if option.default not in (None, "") else ""
            yield usage_of(option), option.help + default


def _group_text(path: tuple[str, ...], plugins: Plugins) -> str:
    page = Page()
    page.usage(" ".join(("banger", *path)), "COMMAND [ARGS]...")
    page.paragraph(summary_of(path, plugins) if path else SUMMARY)
    names, missing = tree.own_below(path), ""
    try:
        names += [name for name in plugins.below(path) if name not in names]
    except BangerError as error:
        missing = f"Commands of plugins are not shown: {error}"
    page.terms("Commands", [(name, summary_of((*path, name), plugins)) for name in names])
    page.paragraph(missing, indent=0)
    return page.text()


def _commands(path: tuple[str, ...], plugins: Plugins) -> list[Command]:
    """The command, or all of the group."""
    if path and (command := tree.command_at(path, plugins)) is not None:
        return [command]
    if path and not tree.is_group(path, plugins):
        tree.find(list(path), plugins)  # says what is wrong
    found: list[Command] = []
    for name in tree.below(path, plugins):
        found += _commands((*path, name), plugins)
    return found


def _syntax(command: Command) -> Syntax:
    return Syntax(
        *(command.path, command.summary, command.arguments, command.options),
        *(command.details, command.examples),
    )


COMMAND = Command(
    path=("help",),
    summary="Show what a command does, and how it is called.",
    details="Of a group its commands; without a word all there are. --json has them as data.",
    run=run,
    reply=list[Syntax],
    arguments=(
        Argument(
            "words",
            "The command or group.",
            required=False,
            many=True,
            metavar="COMMAND",
            completion=Completion.COMMAND,
        ),
    ),
    examples=("banger help", "banger help vm create"),
)
