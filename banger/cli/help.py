from __future__ import annotations

import click

import banger.cli.tree as tree
from banger.cli.command import WIDTH, DeclaredCommand
from banger.cli.plugins import Plugins
from banger.commands.context import Context
from banger.commands.declare import Argument, Command, Completion
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
    return DeclaredCommand(command, plugins).page()


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


def _group_text(path: tuple[str, ...], plugins: Plugins) -> str:
    formatter = click.HelpFormatter(width=WIDTH)
    formatter.write_usage(" ".join(("banger", *path)), "COMMAND [ARGS]...")
    formatter.write_paragraph()
    with formatter.indentation():
        formatter.write_text(summary_of(path, plugins) if path else SUMMARY)
    names, missing = tree.own_below(path), ""
    try:
        names += [name for name in plugins.below(path) if name not in names]
    except BangerError as error:
        missing = str(error)
    with formatter.section("Commands"):
        formatter.write_dl([(name, summary_of((*path, name), plugins)) for name in names])
    if missing:
        formatter.write_paragraph()
        formatter.write_text(f"Commands of plugins are not shown: {missing}")
    return formatter.getvalue().rstrip("\n")


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
