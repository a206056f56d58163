"""What the installed capabilities add to the command line and to the settings."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from banger.capabilities.capability import AnyCapability
from banger.capabilities.command import commands_of
from banger.capabilities.loader import Installed
from banger.capabilities.options import declarations, field_of
from banger.model.requests.plugins import CapabilityOption, Interface
from banger.model.settings import Setting


def setting_rows(installed: Sequence[Installed]) -> list[Setting]:
    """The settings with their whole keys: ``capabilities.NAME.KEY``."""
    return [
        msgspec.structs.replace(setting, key=f"capabilities.{item.name}.{setting.key}")
        for item in installed
        if item.found is not None
        for setting in item.found.settings
    ]


def option_rows(name: str, found: type[AnyCapability]) -> list[CapabilityOption]:
    return [
        CapabilityOption(name, field_of(name, option), option)
        for option in declarations(name, found.options)
    ]


def interface(installed: Sequence[Installed]) -> Interface:
    """Known from the classes alone: no capability is made for it."""
    usable = [(item.name, item.found) for item in installed if item.found is not None]
    return Interface(
        options=[row for name, found in usable for row in option_rows(name, found)],
        commands=[syntax for _, found in usable for syntax, _ in commands_of(found)],
        settings=setting_rows(installed),
    )
