"""A command line that has been understood, and not run yet.

The argument line, the shell and batch files all come through here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import msgspec

from banger.cli.parameters import COMMON, flags_of
from banger.cli.parameters import HELP as HELP_OPTION
from banger.cli.parser import Parser
from banger.cli.plugins import HELP_FLAG, Plugins
from banger.cli.tree import Group, find
from banger.commands.context import Context
from banger.commands.declare import Command, Option
from banger.commands.table import load
from banger.kernel.errors import UsageError

HELP = ("help",)
VERSION = ("version",)
VERSION_FLAG = "--version"
TERMINAL_FLAGS = ("tty", "watch")
"""Flags of these names give a command the terminal."""


class Invocation(msgspec.Struct, frozen=True):
    """``words`` are the line without ``banger``; ``json`` and ``debug`` its flags."""

    words: tuple[str, ...]
    command: Command
    parameters: dict[str, Any]
    json: bool = False
    debug: bool = False
    progress: bool = True
    """False: nothing is to be drawn live."""

    @property
    def takes_terminal(self) -> bool:
        given = (self.parameters.get(name) is True for name in TERMINAL_FLAGS)
        return self.command.takes_terminal or any(given)

    def run(self, context: Context) -> int:
        """The exit code. The context's ``json`` should be this one's."""
        return self.command.run(context, **self.parameters) or 0


def parse(words: Sequence[str], plugins: Plugins) -> Invocation:
    """What the words ask for; nothing is run. ``--help`` anywhere asks for the help command.

    Raises `UsageError` with the word at fault where that can be told, and what plugins raise
    when they are needed and can't be found out.
    """
    line = list(words)
    end = line.index("--") if "--" in line else len(line)
    if line[:1] == [VERSION_FLAG]:
        return Invocation(tuple(line), load(VERSION), {})
    if HELP_FLAG in line[:end]:
        path = _path(line[: line.index(HELP_FLAG)], plugins)
        return Invocation(tuple(line), load(HELP), {"words": path})
    command, depth = find(line, plugins)
    try:
        parameters = _parameters(command, line[depth:], plugins)
    except UsageError as error:
        raise UsageError(
            error.message,
            hint=f"see '{' '.join(('banger', *command.path))} --help'",
            word=None if error.word is None else depth + error.word,
        ) from None
    json, debug = parameters.pop("json"), parameters.pop("debug")
    progress = not parameters.pop("no_progress")
    return Invocation(tuple(line), command, parameters, json, debug, progress)


def _parameters(command: Command, words: list[str], plugins: Plugins) -> dict[str, Any]:
    """What plugins add to the command is found out only when the words have a flag it lacks."""
    added: dict[str, list[Option]] = {}

    def more() -> Iterator[Option]:
        if command.takes_options:
            added.update(plugins.options(flags_of(command)))
        return chain.from_iterable(added.values())

    options = (*command.options, *COMMON)
    parser = Parser(options, command.arguments, dashes_split=command.dashes_split, more=more)
    parameters = parser.parse(words)
    parameters.pop(HELP_OPTION.name)
    if command.takes_options:
        parameters["options"] = plugins.given(parameters, added)
    return parameters


def _path(line: list[str], plugins: Plugins) -> tuple[str, ...]:
    """The command or group that the words begin with."""
    try:
        _, depth = find(line, plugins)
    except Group as group:
        return group.path
    return tuple(line[:depth])
