"""What may stand where the cursor is: commands, options, names, files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import msgspec

import banger.cli.tree as tree
from banger.cli.help import summary_of
from banger.cli.parameters import COMMON
from banger.cli.plugins import Plugins
from banger.commands.declare import Argument, Command, Completion, Kind, Option
from banger.kernel.errors import BangerError
from banger.model.settings import SETTINGS, Setting

FILES_MAX = 500


class Candidate(msgspec.Struct, frozen=True):
    """``text`` replaces the word. ``whole``: the word ends with it."""

    text: str
    help: str = ""
    whole: bool = True


class Names(Protocol):
    """What there is to be named."""

    def named(self, kind: Completion) -> Iterable[Candidate]:
        """All of a kind; of kinds it knows nothing about, none."""
        ...


class Position(msgspec.Struct, frozen=True):
    """Where in a line of a command the next word would stand."""

    command: Command
    options: dict[str, Option]
    """By flag."""
    given: frozenset[str]
    """Names of the options there are already."""
    value_of: Option | None
    """It is the value of this one."""
    arguments: tuple[str, ...]
    """The words before it that are none of options."""
    behind_dashes: bool


def complete(words: Sequence[str], word: str, plugins: Plugins, names: Names) -> list[Candidate]:
    """What ``word``, the last one and maybe "", can become after ``words``. Never raises."""
    try:
        command, depth = tree.find(list(words), plugins)
    except tree.Group as group:
        return _commands(group.path, word, plugins)
    except BangerError:
        return []
    position = locate(command, words[depth:], plugins)
    return list(_fitting(word, _offered(position, word, plugins, names)))


def locate(command: Command, words: Sequence[str], plugins: Plugins) -> Position:
    """``words`` are those after the command's name."""
    options = options_of(command, plugins)
    given: set[str] = set()
    arguments: list[str] = []
    value_of: Option | None = None
    behind = False
    for word in words:
        if value_of is not None:
            value_of = None
        elif behind:
            arguments.append(word)
        elif word == "--":
            behind = True
        elif word.startswith("-") and word != "-":
            flag, equals, _ = word.partition("=")
            option = options.get(flag)
            if option is not None:
                given.add(option.name)
                if option.kind is not Kind.FLAG and not equals:
                    value_of = option
        else:
            arguments.append(word)
    return Position(command, options, frozenset(given), value_of, tuple(arguments), behind)


def options_of(command: Command, plugins: Plugins) -> dict[str, Option]:
    """All options of a command by flag, those of plugins too where they can be told."""
    options = [option for option in (*command.options, *COMMON) if not option.hidden]
    flags = {flag: option for option in options for flag in (*option.flags, *option.off_flags)}
    if command.takes_options:
        try:
            added = plugins.options(flags)
        except BangerError:
            added = {}
        for option in (option for found in added.values() for option in found):
            flags |= dict.fromkeys((*option.flags, *option.off_flags), option)
    return flags


def argument_at(position: Position) -> Argument | None:
    """The argument that the next word would be."""
    arguments = position.command.arguments
    if position.command.dashes_split:
        return arguments[1 if position.behind_dashes else 0]
    place = min(len(position.arguments), len(arguments) - 1)
    if place < 0 or (place < len(position.arguments) and not arguments[place].many):
        return None
    return arguments[place]


def _offered(position: Position, word: str, plugins: Plugins, names: Names) -> Iterator[Candidate]:
    if position.value_of is not None:
        yield from _values(position.value_of, word, plugins, names)
        return
    if not position.behind_dashes and word.startswith("--") and "=" in word:
        flag, _, value = word.partition("=")
        option = position.options.get(flag)
        if option is not None and option.kind is not Kind.FLAG:
            for found in _values(option, value, plugins, names):
                yield msgspec.structs.replace(found, text=f"{flag}={found.text}")
        return
    if not position.behind_dashes and word.startswith("-"):
        yield from _flags(position)
        return
    argument = argument_at(position)
    if argument is not None:
        taken = position.arguments if argument.many else ()
        if argument.completion is Completion.COMMAND:
            yield from _commands(position.arguments, word, plugins)
            return
        for found in _values(argument, word, plugins, names):
            if found.text not in taken:
                yield found


def _values(
    of: Option | Argument, word: str, plugins: Plugins, names: Names
) -> Iterable[Candidate]:
    if of.choices:
        return [Candidate(choice) for choice in of.choices]
    match of.completion:
        case Completion.NOTHING | Completion.COMMAND:
            return []
        case Completion.FILE:
            return files(word)
        case Completion.PLACE:
            return _places(word, names)
        case Completion.SETTING:
            return _settings(word, plugins)
        case kind:
            return names.named(kind)


def _commands(path: tuple[str, ...], word: str, plugins: Plugins) -> list[Candidate]:
    found = _fitting(word, (Candidate(name) for name in tree.below(path, plugins)))
    return [Candidate(c.text, _summary((*path, c.text), plugins)) for c in found]


def _summary(path: tuple[str, ...], plugins: Plugins) -> str:
    try:
        return summary_of(path, plugins)
    except BangerError:
        return ""


def _flags(position: Position) -> Iterator[Candidate]:
    """The last flag of an option is its long one."""
    seen: set[str] = set()
    for option in position.options.values():
        if option.name in seen or (option.name in position.given and not option.many):
            continue
        seen.add(option.name)
        for flags in (option.flags, option.off_flags):
            if flags:
                yield Candidate(flags[-1], option.help)


def _places(word: str, names: Names) -> Iterator[Candidate]:
    """A file here, or the VM of one there."""
    if ":" in word:
        return
    if "/" not in word:
        for vm in names.named(Completion.VM):
            yield Candidate(f"{vm.text}:", vm.help, whole=False)
    yield from files(word)


def _settings(word: str, plugins: Plugins) -> Iterator[Candidate]:
    key, equals, _ = word.partition("=")
    rows = [*SETTINGS, *_settings_of(plugins)]
    if not equals:
        for setting in rows:
            yield Candidate(f"{setting.key}=", setting.help, whole=False)
    for setting in rows:
        if setting.key == key:
            for choice in setting.choices:
                yield Candidate(f"{key}={choice}")


def _settings_of(plugins: Plugins) -> Sequence[Setting]:
    try:
        return plugins.settings()
    except BangerError:
        return ()


def files(word: str) -> Iterator[Candidate]:
    """Files and directories that begin so; hidden ones when a dot was typed."""
    directory, slash, begin = word.rpartition("/")
    where = os.path.expanduser(directory + slash) or "."  # noqa: PTH111 - keeps what was typed
    try:
        with os.scandir(where) as entries:
            found = sorted(
                (entry.name, entry.is_dir())
                for entry in entries
                if entry.name.startswith(begin) and (begin or not entry.name.startswith("."))
            )
    except OSError:
        return
    for name, is_directory in found[:FILES_MAX]:
        if name.isprintable():
            end = "/" if is_directory else ""
            yield Candidate(f"{directory}{slash}{name}{end}", whole=not is_directory)


def _fitting(word: str, offered: Iterable[Candidate]) -> Iterator[Candidate]:
    return (found for found in offered if found.text.startswith(word))
