"""What plugins add to the argument line: commands, and options of core commands."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cached_property
from typing import Any

import click
import msgspec

from banger.cli.parameters import HELP_FLAG, click_option
from banger.host.paths import Paths
from banger.model.command import Option, Syntax
from banger.model.requests import CapabilityOption, Interface


class Plugins:
    """Asked for once, when first needed: it takes long when no daemon runs.

    Flags that are the command's own stay its own. Every method may raise `HostNotReady`.
    """

    @cached_property
    def interface(self) -> Interface:
        from banger.client.interface import find_interface

        return find_interface(Paths.here())

    # --- commands ---

    def command(self, path: tuple[str, ...]) -> Syntax | None:
        return next((c for c in self.interface.commands if c.path == path), None)

    def below(self, prefix: tuple[str, ...]) -> list[str]:
        """The words that come next in the paths that begin like this, each once."""
        depth = len(prefix)
        paths = (command.path for command in self.interface.commands)
        next_words = (p[depth] for p in paths if len(p) > depth and p[:depth] == prefix)
        return list(dict.fromkeys(next_words))

    # --- options ---

    def options(self, taken: Collection[str]) -> dict[str, list[click.Option]]:
        """By capability. ``taken`` are the flags that the command has already."""
        found: dict[str, list[click.Option]] = {}
        for added in self.interface.options:
            option = without_flags(added.option, {*taken, HELP_FLAG})
            if option.flags:
                found.setdefault(added.capability, []).append(click_option(option))
        return found

    def given(
        self, parameters: dict[str, Any], added: Mapping[str, object]
    ) -> dict[str, dict[str, Any]]:
        """Take the options of capabilities out of the parameters: those that were given."""
        values: dict[str, dict[str, Any]] = {}
        if added:
            for option in self.interface.options:
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
