"""A command line that has been understood, and not run yet.

The argument line, the shell and batch files all come through here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import click
import msgspec

from banger.cli.command import DeclaredCommand
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
    declared = DeclaredCommand(command, plugins)
    try:
        parameters = declared.parameters(line[depth:])
    except click.UsageError as error:
        raise UsageError(
            _one_line(error.format_message()),
            hint=f"see '{declared.name} --help'",
            word=_at_fault(error, line, depth),
        ) from None
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


def _at_fault(error: click.UsageError, line: list[str], depth: int) -> int | None:
    """Which word click complains of; it does not say."""
    if isinstance(error, click.MissingParameter):
        return None
    names: tuple[str, ...] = ()
    if isinstance(error, click.NoSuchOption | click.BadOptionUsage):
        names = (error.option_name,)
    elif isinstance(error, click.BadParameter) and isinstance(error.param, click.Option):
        names = (*error.param.opts, *error.param.secondary_opts)
    if names:
        found = list(_uses(names, line, depth))
        return next((at for at in found if _is_value(error, line[at])), found[0] if found else None)
    # Words too many: the last ones.
    return len(line) - 1 if len(line) > depth else None


def _uses(names: tuple[str, ...], line: list[str], depth: int) -> Iterator[int]:
    """Where these flags or their values stand."""
    for at in range(depth, len(line)):
        word = line[at]
        if word in names:
            yield at
            if at + 1 < len(line):
                yield at + 1
        elif any(word.startswith(f"{name}=" if name.startswith("--") else name) for name in names):
            yield at


def _is_value(error: click.UsageError, word: str) -> bool:
    """Whether the message quotes this word, or the value within it."""
    if not isinstance(error, click.BadParameter):
        return False
    value = word.partition("=")[2] if word.startswith("--") else word
    return bool(value) and repr(value) in error.message


def _one_line(text: str) -> str:
    text = " ".join(text.split()).rstrip(".")
    return text[:1].lower() + text[1:]
