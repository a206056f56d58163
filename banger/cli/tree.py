"""Which command the first words of a line name: banger's own, and those of plugins."""

from __future__ import annotations

import contextlib

from banger.cli.plugins import Plugins
from banger.commands.declare import Command
from banger.commands.table import GROUPS, HIDDEN, MODULES, SUBGROUPS, load
from banger.kernel.errors import BangerError, UsageError

Path = tuple[str, ...]


class Group(UsageError):
    """A line that ends before it names a command."""

    def __init__(self, path: Path) -> None:
        name = " ".join(("banger", *path))
        super().__init__(f"{name!r} needs a command", hint=f"see '{name} --help'")
        self.path = path


def find(words: list[str], plugins: Plugins) -> tuple[Command, int]:
    """The command, and how many words name it. Raises `UsageError`, `Group` among them."""
    path: Path = ()
    for at, word in enumerate(words):
        path = (*path, word)
        command = command_at(path, plugins)
        if command is not None:
            return command, at + 1
        if not is_group(path, plugins):
            raise _unknown(path, at, plugins)
    raise Group(path)


def command_at(path: Path, plugins: Plugins) -> Command | None:
    """Banger's own goes before a plugin's of the same name."""
    if path in MODULES:
        return load(path)
    if path in _own_groups() or path[-1].startswith("-"):
        return None
    syntax = plugins.command(path)
    if syntax is None:
        return None
    from banger.commands.plugin_command import of_plugin  # only for these

    return of_plugin(syntax)


def is_group(path: Path, plugins: Plugins) -> bool:
    return path in _own_groups() or bool(not path[-1].startswith("-") and plugins.below(path))


def below(prefix: Path, plugins: Plugins) -> list[str]:
    """The words that may come next. Those of plugins are left out when nobody can tell them."""
    names = own_below(prefix)
    with contextlib.suppress(BangerError):
        names += plugins.below(prefix)
    return list(dict.fromkeys(names))


def own_below(prefix: Path) -> list[str]:
    depth = len(prefix)
    paths = (path for path in MODULES if path[:depth] == prefix and path not in HIDDEN)
    return list(dict.fromkeys(p[depth] for p in paths if len(p) > depth))


def _own_groups() -> set[Path]:
    return {(name,) for name in GROUPS} | SUBGROUPS.keys()


def _unknown(path: Path, at: int, plugins: Plugins) -> UsageError:
    import difflib

    *prefix, word = path
    where = " ".join(("banger", *prefix))
    if word.startswith("-"):
        return UsageError(f"no such option: {word}", hint=f"see '{where} --help'", word=at)
    near = difflib.get_close_matches(word, below(tuple(prefix), plugins), n=1)
    question = f"; did you mean {near[0]!r}?" if near else ""
    name = " ".join(path)
    return UsageError(
        f"there is no command {name!r}{question}", hint=f"see '{where} --help'", word=at
    )
