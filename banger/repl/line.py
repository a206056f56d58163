"""What a line of the shell asks for."""

from __future__ import annotations

import difflib
from collections.abc import Collection

import msgspec

import banger.cli.tree as tree
from banger.cli.complete import argument_at, locate
from banger.cli.invocation import HELP, Invocation, parse
from banger.cli.plugins import Plugins
from banger.cli.words import split
from banger.commands.declare import Argument, Command, Completion
from banger.commands.table import GROUPS, MODULES, load
from banger.kernel.errors import BangerError, UsageError

HOST = "!"
BACKGROUND = "&"
QUESTION = "?"

USE = Command(
    path=("use",),
    summary="Let commands that name no VM mean this one; alone: none any more.",
    run=lambda context, **_: None,
    arguments=(Argument("name", "The VM.", required=False, completion=Completion.VM),),
    examples=("use web-1", "use"),
)
JOBS = Command(
    path=("jobs",),
    summary="List the commands that run in the background.",
    run=lambda context, **_: None,
    examples=("jobs",),
)
FG = Command(
    path=("fg",),
    summary="Bring a command from the background to the front: Ctrl-C is for it again.",
    run=lambda context, **_: None,
    arguments=(Argument("number", "Its number; the newest by default.", required=False),),
    examples=("fg", "fg 2"),
)
EXIT = Command(path=("exit",), summary="Leave.", run=lambda context, **_: None, examples=("exit",))
OWN = {command.path[0]: command for command in (USE, JOBS, FG, EXIT)}
"""What only the shell has."""

_CHOOSING = {"everything", "labels", "where"}
"""Options that say which VMs are meant."""


class OwnCommand(msgspec.Struct, frozen=True):
    name: str
    arguments: tuple[str, ...]


class HostCommand(msgspec.Struct, frozen=True):
    """For the host's shell; "" is a shell to sit at."""

    text: str


class Started(msgspec.Struct, frozen=True):
    """A command of banger."""

    invocation: Invocation
    background: bool


Asked = OwnCommand | HostCommand | Started | None


def read(line: str, plugins: Plugins, vms: Collection[str], default: str | None) -> Asked:
    """What the line asks for; None: nothing. Raises `UsageError`, and what plugins raise."""
    line = line.strip()
    if line.startswith(HOST):
        return HostCommand(line[1:].strip())
    words = split(line)
    background = bool(words) and words[-1] == BACKGROUND
    if background:
        words.pop()
    elif words and words[-1].endswith(BACKGROUND) and line.endswith(words[-1]):
        words[-1] = words[-1].removesuffix(BACKGROUND)
        background = True
    if words[:1] == ["banger"]:
        words.pop(0)
    if not words:
        return None
    if words[-1] == QUESTION:
        return Started(
            Invocation(tuple(words), load(HELP), {"words": _known(words, plugins)}), False
        )
    if words[0] in OWN:
        return _own(words)
    if words[0] == "quit":
        return OwnCommand("exit", ())
    ours = words[0] in GROUPS or (words[0],) in MODULES
    if len(words) == 1 and words[0] in vms and not ours:
        return OwnCommand("use", (words[0],))
    try:
        return Started(parse(targeted(words, plugins, default), plugins), background)
    except UsageError as error:
        raise _with_own(error, words) from None


def _own(words: list[str]) -> OwnCommand:
    command, given = OWN[words[0]], words[1:]
    if "--help" in given or len(given) > len(command.arguments):
        usage = " ".join([words[0], *(f"[{a.name.upper()}]" for a in command.arguments)])
        raise UsageError(f"{command.summary} Usage: {usage}", word=_too_many(command, words))
    return OwnCommand(words[0], tuple(given))


def _too_many(command: Command, words: list[str]) -> int:
    """The first word that is one too many."""
    return words.index("--help") if "--help" in words else len(command.arguments) + 1


def _known(words: list[str], plugins: Plugins) -> tuple[str, ...]:
    """The words before a question mark that name a command or a group."""
    path: tuple[str, ...] = ()
    for word in words[:-1]:
        if tree.command_at((*path, word), plugins) is not None:
            return (*path, word)
        if not tree.is_group((*path, word), plugins):
            break
        path = (*path, word)
    return path


def targeted(words: list[str], plugins: Plugins, default: str | None) -> list[str]:
    """The words, with the default VM put in where a VM is to be named and none is."""
    if default is None:
        return words
    try:
        command, depth = tree.find(words, plugins)
    except BangerError:
        return words
    position = locate(command, words[depth:], plugins)
    first = command.arguments[0] if command.arguments else None
    if first is None or first.completion is not Completion.VM:
        return words
    wanted = first.required or command.mutates
    if position.behind_dashes and command.dashes_split:
        none_named = not locate(command, words[depth : words.index("--")], plugins).arguments
    else:
        none_named = not position.arguments and argument_at(position) is first
    if not wanted or not none_named or position.given & _CHOOSING or "--help" in words:
        return words
    return [*words[:depth], default, *words[depth:]]


def _with_own(error: UsageError, words: list[str]) -> UsageError:
    """The shell's own commands may have been meant."""
    if error.word != 0 or "did you mean" in error.message:
        return error
    near = difflib.get_close_matches(words[0], OWN, n=1)
    if not near:
        return error
    return UsageError(f"{error.message}; did you mean {near[0]!r}?", hint=error.hint, word=0)
