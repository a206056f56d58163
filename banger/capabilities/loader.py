"""Finds the capabilities that are installed: entry points of ``banger.capabilities``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import EntryPoint
from typing import Any

import msgspec
from stevedore import ExtensionManager

from banger.capabilities import guard
from banger.capabilities.capability import API_VERSION, AnyCapability, Capability
from banger.capabilities.command import commands_of
from banger.capabilities.options import declarations
from banger.host.distributions import owner
from banger.kernel.errors import BangerError, UsageError
from banger.model.command import Option
from banger.model.names import check_name
from banger.model.requests.plugins import CapabilityOption, Interface

GROUP = "banger.capabilities"
_FLAG = re.compile(r"-[A-Za-z]|--[A-Za-z0-9][A-Za-z0-9-]*")
BUILT_IN = "banger"
"""The distribution whose capabilities can't be turned off."""


class Installed(msgspec.Struct, frozen=True):
    """An entry point and what came of it: a class, or the reason why there is none."""

    name: str
    distribution: str
    version: str
    found: type[AnyCapability] | None
    reason: str = ""

    @property
    def built_in(self) -> bool:
        return self.distribution == BUILT_IN


class _Manager(ExtensionManager[Any]):
    """Stevedore's own, but `sys.exit` at import and a hanging one fail like any error."""

    def _load_one_plugin(self, ep: EntryPoint, *args: Any, **kwargs: Any) -> Any:
        return guard.call(lambda: super(_Manager, self)._load_one_plugin(ep, *args, **kwargs))


def find_capabilities(
    *, turned_off: Iterable[str] = (), own_flags: Iterable[str] = ()
) -> list[Installed]:
    """Every installed capability, usable or not, those that others come ``after`` first.

    ``own_flags`` are those of banger's own that no option may have. Never raises because of a
    plugin. Best called inside of `guard.alarm_clock`.
    """
    broken: list[tuple[EntryPoint, BaseException]] = []
    manager = _Manager(
        GROUP,
        invoke_on_load=False,
        on_load_failure_callback=lambda _, entry, error: broken.append((entry, error)),
    )
    off = set(turned_off)
    loaded = [(e.entry_point, e.plugin, problem_of(e.name, e.plugin)) for e in manager.extensions]
    failed = [(entry, None, str(error) or repr(error)) for entry, error in broken]
    found = [_installed(*item) for item in loaded + failed]
    found = [_unless_off(item, off) for item in _without_twins(found, own_flags)]
    return in_order(found)


def _installed(entry: EntryPoint, plugin: Any, problem: str) -> Installed:
    distribution, version = owner(GROUP, entry)
    return Installed(entry.name, distribution, version, None if problem else plugin, problem)


def problem_of(name: str, plugin: Any) -> str:
    """Why this can't be used as a capability; "" when it can."""
    if not (isinstance(plugin, type) and issubclass(plugin, Capability)):
        return f"{plugin!r} is no Capability"
    for attribute in ("name", "summary", "api_version"):
        if not hasattr(plugin, attribute):
            return f"the class has no {attribute!r}"
    if plugin.name != name:
        return f"the entry point is called {name!r}, the capability {plugin.name!r}"
    if plugin.api_version != API_VERSION:
        return f"written for version {plugin.api_version} of the plugin API, this is {API_VERSION}"
    try:
        check_name("capability", name)
        if not isinstance(plugin.after, tuple | list):
            return f"'after' is {plugin.after!r}, not a tuple of names"
        for setting in plugin.settings:
            setting.check(setting.default)
        # As the client will get it: what can't be read there would be its trouble.
        added = Interface(
            [CapabilityOption(name, "", option) for option in _sound_options(name, plugin)],
            [syntax for syntax, _ in commands_of(plugin)],
            list(plugin.settings),
        )
        msgspec.msgpack.decode(msgspec.msgpack.encode(added), type=Interface)
        if not isinstance(plugin.summary, str):
            return f"'summary' is {plugin.summary!r}, not a text"
    except BangerError as error:
        return str(error)
    except Exception as error:  # whatever a class can be made to do when it is looked at
        return f"its declarations: {error!r}"
    return ""


def _sound_options(name: str, plugin: type[AnyCapability]) -> list[Option]:
    """The declared options. Raises TypeError, ValueError."""
    found = declarations(name, plugin.options)
    for option in found:
        for flag in (*option.flags, *option.off_flags):
            if not _FLAG.fullmatch(flag):
                raise ValueError(f"{flag!r} is no flag: write -x or --some-words")
    defaults = plugin.options()
    msgspec.convert(msgspec.to_builtins(defaults), plugin.options)
    return found


def _without_twins(found: list[Installed], own_flags: Iterable[str]) -> list[Installed]:
    """Of capabilities with one name none is used, except banger's own."""
    names = Counter(item.name for item in found)
    own = {item.name for item in found if item.built_in}
    flags = dict.fromkeys(own_flags, "banger itself")
    kept = []
    for item in sorted(found, key=lambda item: (not item.built_in, item.name)):
        if names[item.name] > 1 and not item.built_in:
            others = {i.distribution for i in found if i.name == item.name} - {item.distribution}
            whose = BUILT_IN if item.name in own else ", ".join(sorted(others)) or "itself, twice"
            item = _disabled(item, f"the name {item.name!r} is taken by {whose}")
        if item.found is not None:
            for option in declarations(item.name, item.found.options):
                for flag in (*option.flags, *option.off_flags):
                    if flag in flags:
                        reason = f"its flag {flag} is taken by {flags[flag]}"
                        item = _disabled(item, reason)
                    flags.setdefault(flag, f"capability {item.name!r}")
        kept.append(item)
    return kept


def _unless_off(item: Installed, off: set[str]) -> Installed:
    if item.name not in off:
        return item
    if item.built_in:
        raise UsageError(
            f"setting plugins.disabled: {item.name!r} is a part of banger and stays on"
        )
    return _disabled(item, "turned off by the setting plugins.disabled")


def in_order(found: list[Installed]) -> list[Installed]:
    """Those that others come ``after`` first; those that go in a circle are turned off."""
    while True:
        after = {
            item.name: set(item.found.after) if item.found else set[str]()
            for item in sorted(found, key=lambda item: item.name)
        }
        try:
            order = [name for name in TopologicalSorter(after).static_order() if name in after]
        except CycleError as error:
            circle = set(error.args[1])
            found = [
                _disabled(item, f"'after' goes in a circle: {', '.join(sorted(circle))}")
                if item.name in circle and not item.built_in
                else item
                for item in found
            ]
        else:
            return sorted(found, key=lambda item: order.index(item.name))


def _disabled(item: Installed, reason: str) -> Installed:
    return msgspec.structs.replace(item, found=None, reason=item.reason or reason)
