"""The capabilities of a running daemon: those in use, and those turned off with the reason."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from banger.capabilities import guard
from banger.capabilities.capability import AnyCapability
from banger.capabilities.host import Host
from banger.capabilities.loader import Installed
from banger.capabilities.options import Options, declarations, field_of, with_changes
from banger.kernel.errors import HostNotReady, UsageError

log = logging.getLogger(__name__)

Given = Mapping[str, Mapping[str, object]]
"""Options by capability and field, as requests and records have them."""


class Registry:
    """``make_host(NAME)`` gives a capability what it works with."""

    def __init__(self, installed: Sequence[Installed], make_host: Callable[[str], Host]) -> None:
        self.installed = list(installed)
        self.active: dict[str, AnyCapability] = {}
        self.on_disabled: Callable[[str, str], None] = lambda name, reason: None
        self._built_in = {item.name for item in installed if item.built_in}
        self._reasons = {item.name: item.reason for item in installed if item.found is None}
        for item in installed:
            if item.found is not None:
                self._make(item.name, item.found, make_host)

    def _make(
        self, name: str, found: type[AnyCapability], make_host: Callable[[str], Host]
    ) -> None:
        try:
            self.active[name] = guard.call(lambda: found(make_host(name)))
        except Exception as error:
            if name in self._built_in:
                raise
            self._reasons[name] = str(error)
            log.warning("capability %s is off: %s", name, error)

    def reason(self, item: Installed) -> str:
        """Why it is off; "" while it is in use."""
        return item.reason or self._reasons.get(item.name, "")

    def disable(self, name: str, reason: str) -> None:
        """Use it no more until the daemon is started again. banger's own stay on."""
        log.error("capability %s: %s", name, reason)
        if name in self._built_in or name not in self.active:
            return
        del self.active[name]
        self._reasons[name] = reason
        self.on_disabled(name, reason)

    def decide(self, given: Given) -> dict[str, dict[str, Any]]:
        """The options of a new VM: what was given, else the defaults. Raises `UsageError`."""
        self._check_names(given)
        decided = {}
        for name, capability in list(self.active.items()):
            options = with_changes(
                name, self._defaults(name, capability), given.get(name, {}), capability.options
            )
            decided[name] = msgspec.to_builtins(options)
        return {name: fields for name, fields in decided.items() if fields}

    def change(self, recorded: Given, given: Given) -> dict[str, dict[str, Any]]:
        """The options of a VM with some changed. Raises `UsageError`."""
        self._check_names(given)
        changed = {name: dict(fields) for name, fields in recorded.items()}
        for name, fields in given.items():
            before = self.options(name, recorded)
            options = with_changes(name, before, fields, self.active[name].options)
            changed[name] = msgspec.to_builtins(options)
        return changed

    def options(self, name: str, recorded: Given) -> Options:
        """A VM's options of an active capability. Raises `UsageError` when they no longer fit.

        A VM made before the capability was there has what the class says, not what the
        settings give to new VMs: installing a plugin does not change VMs.
        """
        options = self.active[name].options
        return with_changes(name, options(), recorded.get(name, {}), options)

    def shown(self, recorded: Given) -> dict[str, dict[str, Any]]:
        """What differs from an untouched default, for listings."""
        shown: dict[str, dict[str, Any]] = {}
        for name, fields in recorded.items():
            capability = self.active.get(name)
            plain = msgspec.to_builtins(capability.options()) if capability else {}
            different = {k: v for k, v in fields.items() if plain.get(k) != v}
            if different:
                shown[name] = different
        return shown

    def _defaults(self, name: str, capability: AnyCapability) -> Options:
        try:
            defaults = guard.call(capability.defaults)
            if type(defaults) is not capability.options:
                raise guard.Misbehaved(f"returned {defaults!r}")
        except guard.Misbehaved as error:
            self.disable(name, f"its defaults: {error}")
            raise HostNotReady(
                f"capability {name!r} is off: its defaults: {error}", hint=_AGAIN
            ) from None
        return defaults

    def _check_names(self, given: Given) -> None:
        for name in given:
            if name not in self.active:
                reason = self._reasons.get(name)
                if reason:
                    raise HostNotReady(f"capability {name!r} is off: {reason}", hint=_AGAIN)
                known = ", ".join(self.active)
                raise UsageError(f"there is no capability {name!r}", hint=f"there are: {known}")
            capability = self.active[name]
            fields = {field_of(name, o) for o in declarations(name, capability.options)}
            for field in given[name]:
                if field not in fields:
                    raise UsageError(f"capability {name!r} has no option {field!r}")


_AGAIN = "'banger plugin list' shows all; it is tried again when the daemon is started anew"
