"""What plugins add to the argument line: commands, and options of core commands."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from banger.model.command import Option, Syntax

if TYPE_CHECKING:
    from banger.model.requests.plugins import CapabilityOption, Interface
    from banger.model.settings import Setting

HELP_FLAG = "--help"


class Plugins:
    """Asked for when first needed: it takes long when no daemon runs.

    ``find`` tells what they add; it may raise `HostNotReady`, and so may every method.
    Flags that are the command's own stay its own.
    """

    def __init__(self, find: Callable[[], Interface]) -> None:
        self._find = find

    # --- commands ---

    def command(self, path: tuple[str, ...]) -> Syntax | None:
        return next((c for c in self._find().commands if c.path == path), None)

    def below(self, prefix: tuple[str, ...]) -> list[str]:
        """The words that come next in the paths that begin like this, each once."""
        depth = len(prefix)
        paths = (command.path for command in self._find().commands)
        next_words = (p[depth] for p in paths if len(p) > depth and p[:depth] == prefix)
        return list(dict.fromkeys(next_words))

    def settings(self) -> list[Setting]:
        """With whole keys."""
        return self._find().settings

    # --- options ---

    def options(self, taken: Collection[str]) -> dict[str, list[Option]]:
        """By capability. ``taken`` are the flags that the command has already."""
        found: dict[str, list[Option]] = {}
        for added in self._find().options:
            option = without_flags(added.option, {*taken, HELP_FLAG})
            if option.flags:
                found.setdefault(added.capability, []).append(option)
        return found

    def given(
        self, parameters: dict[str, Any], added: Mapping[str, object]
    ) -> dict[str, dict[str, Any]]:
        """Take the options of capabilities out of the parameters: those that were given."""
        values: dict[str, dict[str, Any]] = {}
        if added:
            for option in self._find().options:
                value = parameters.pop(option.option.name, None)
                if value not in (None, ()):
                    _put(values, option, value)
        return values


def _put(values: dict[str, dict[str, Any]], option: CapabilityOption, value: Any) -> None:
    value = list(value) if isinstance(value, tuple) else value
    values.setdefault(option.capability, {})[option.field] = value


def without_flags(option: Option, taken: Collection[str]) -> Option:
    """The option less the flags that are taken."""
    return msgspec.structs.replace(
        option,
        flags=tuple(flag for flag in option.flags if flag not in taken),
        off_flags=tuple(flag for flag in option.off_flags if flag not in taken),
    )
