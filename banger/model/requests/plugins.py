"""What the daemon is asked about plugins."""

from __future__ import annotations

from typing import Any

from banger.kernel.message import Request
from banger.model.command import Option, Syntax
from banger.model.requests.reply import Reply
from banger.model.settings import Setting


class PluginView(Reply, frozen=True):
    """A capability, driver or image builder as ``plugin list`` and ``plugin show`` show it."""

    name: str
    kind: str
    """capability, driver or image builder."""
    distribution: str
    version: str
    summary: str
    enabled: bool
    reason: str
    """Why it is off; "" while it is in use."""
    api_version: int | None = None
    hooks: list[str] = []
    options: list[Option] = []
    settings: list[Setting] = []
    commands: list[str] = []


class ListPlugins(Request[list[PluginView]], frozen=True, tag="plugin.list"):
    pass


class CapabilityOption(Reply, frozen=True):
    """A flag of ``vm create`` and ``vm set``."""

    capability: str
    field: str
    option: Option


class Interface(Reply, frozen=True):
    """What plugins add to the command line."""

    options: list[CapabilityOption]
    commands: list[Syntax]
    settings: list[Setting]
    """With whole keys: ``capabilities.NAME.KEY``."""


class GetInterface(Request[Interface], frozen=True, tag="plugin.interface"):
    pass


class CommandEnded(Reply, frozen=True):
    """``document`` is what ``--json`` prints, as JSON."""

    code: int
    document: bytes


class RunPluginCommand(Request[CommandEnded], frozen=True, tag="plugin.run"):
    """stream: Output, text in UTF-8."""

    path: list[str]
    parameters: dict[str, Any]
