"""A command line that has been understood, and not run yet.

The argument line, the shell and batch files all come through here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from banger.cli.plugins import HELP_FLAG, Plugins
from banger.cli.tree import Group, find
from banger.commands.context import Context
from banger.commands.declare import Command
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
    from banger.cli.command import DeclaredCommand  # slow to load

    try:
        parameters = DeclaredCommand(command, plugins).parameters(line[depth:])
    except UsageError as error:
        if error.word is not None:
            error.word += depth
        raise
    json, debug = parameters.pop("json"), parameters.pop("debug")
    progress = not parameters.pop("no_progress")
    return Invocation(tuple(line), command, parameters, json, debug, progress)


def _path(line: list[str], plugins: Plugins) -> tuple[str, ...]:
    """The command or group that the words begin with."""
    try:
        _, depth = find(line, plugins)
    except Group as group:
        return group.path
    return tuple(line[:depth])
