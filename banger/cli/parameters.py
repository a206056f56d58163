"""The options that every command has, and what parameters are called."""

from __future__ import annotations

from banger.commands.declare import Command
from banger.model.command import Argument, Kind, Option

JSON = Option("json", ("--json",), "Print the result as JSON, and nothing else.", Kind.FLAG)
DEBUG = Option("debug", ("--debug",), "Show the traceback of an error.", Kind.FLAG)
NO_PROGRESS = Option(
    "no_progress", ("--no-progress",), "Draw nothing live: plain lines, as into a file.", Kind.FLAG
)
HELP = Option("help", ("--help",), "Show this message.", Kind.FLAG)
COMMON = (JSON, NO_PROGRESS, DEBUG, HELP)
"""Of every command."""


def flags_of(command: Command) -> set[str]:
    """All that it has of its own, and of every command."""
    options = (*command.options, *COMMON)
    return {flag for option in options for flag in (*option.flags, *option.off_flags)}


def metavar(argument: Argument) -> str:
    name = (argument.metavar or argument.name).upper() + ("..." if argument.many else "")
    return name if argument.required else f"[{name}]"
