"""The options that every command has, and how parameters are called in help and errors."""

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

_METAVARS = {Kind.TEXT: "TEXT", Kind.NUMBER: "N", Kind.SECONDS: "SECONDS"}


def flags_of(command: Command) -> set[str]:
    """All that it has of its own, and of every command."""
    options = (*command.options, *COMMON)
    return {flag for option in options for flag in (*option.flags, *option.off_flags)}


def metavar(argument: Argument) -> str:
    name = (argument.metavar or argument.name).upper() + ("..." if argument.many else "")
    return name if argument.required else f"[{name}]"


def usage_of(option: Option) -> str:
    """``-u, --user USER``, ``--rm / --no-rm``."""
    text = _flags(option.flags)
    if option.off_flags:
        text = f"{text} / {_flags(option.off_flags)}"
    if option.kind is Kind.FLAG:
        return text
    value = option.metavar or _METAVARS.get(option.kind) or f"[{'|'.join(option.choices)}]"
    return f"{text} {value}"


def _flags(flags: tuple[str, ...]) -> str:
    """Short ones first."""
    return ", ".join(sorted(flags, key=lambda flag: flag.startswith("--")))
