"""What can be seen of a capability without running it."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Iterator
from importlib.metadata import entry_points, packages_distributions
from typing import Any

from banger.capabilities.capability import HOOKS, AnyCapability, Capability, overrides
from banger.capabilities.command import commands_of
from banger.capabilities.loader import GROUP, find_capabilities, problem_of
from banger.capabilities.options import declarations
from banger.commands.table import MODULES, load
from banger.model.settings import Setting

PLAIN = ("defaults", "checks", "services")
"""Methods beside the hooks that the daemon calls."""

_KEY = re.compile(r"[a-z][a-z0-9_]*")
_FLAG = re.compile(r"--[a-z][a-z0-9-]*|-[a-zA-Z]")
_ALIKE = 0.7
"""How much a name is like a hook's to be one misspelt; ``stop`` and ``stopped`` are."""


def unusable(capability: Any) -> list[str]:
    """Why the daemon would not even take it; empty when it would."""
    if not (isinstance(capability, type) and issubclass(capability, Capability)):
        return [f"{capability!r} is no subclass of banger.capabilities.Capability"]
    problem = problem_of(getattr(capability, "name", "?"), capability)
    return [problem] if problem else []


def faults(capability: type[AnyCapability]) -> Iterator[str]:
    """What is wrong with one that is usable."""
    yield from _attributes(capability)
    yield from _settings(capability)
    yield from _flags(capability)
    yield from _hooks(capability)
    yield from _misspelt(capability)
    yield from _commands(capability)
    yield from _entry_point(capability)


def _attributes(capability: type[AnyCapability]) -> Iterator[str]:
    summary: object = capability.summary
    if not isinstance(summary, str) or not summary.strip() or "\n" in summary:
        yield f"'summary' is one line of text, not {summary!r}"
    after: object = capability.after
    if not isinstance(after, tuple) or not all(isinstance(name, str) for name in after):
        yield f"'after' is a tuple of names, not {after!r}; one name: ('dns',)"
    elif capability.name in after:
        yield f"'after' names the capability itself, {capability.name!r}"
    deadline: object = capability.deadline_s
    if not isinstance(deadline, int | float) or deadline <= 0:
        yield f"'deadline_s' is a number of seconds above 0, not {deadline!r}"


def _settings(capability: type[AnyCapability]) -> Iterator[str]:
    seen: set[str] = set()
    for setting in capability.settings:
        if not isinstance(setting, Setting):
            yield f"'settings' has {setting!r}, which is no Setting"
            continue
        if not _KEY.fullmatch(setting.key):
            yield (
                f"setting {setting.key!r}: a key is a bare name like 'ttl_s', without the prefix "
                f"'capabilities.{capability.name}.'"
            )
        if not setting.help:
            yield f"setting {setting.key!r} has no help"
        if setting.key in seen:
            yield f"setting {setting.key!r} is there twice"
        seen.add(setting.key)


def _flags(capability: type[AnyCapability]) -> Iterator[str]:
    taken = {"--help": "every command"}
    for verb in ("create", "set"):
        command = load(("vm", verb))
        for own in command.options:
            taken |= dict.fromkeys((*own.flags, *own.off_flags), f"'banger vm {verb}'")
    for item in find_capabilities():
        if item.built_in and item.found is not None and item.name != capability.name:
            for other in declarations(item.name, item.found.options):
                flags = (*other.flags, *other.off_flags)
                taken |= dict.fromkeys(flags, f"banger's capability {item.name!r}")
    for option in declarations(capability.name, capability.options):
        if not option.help:
            yield f"option {option.flags[0]} has no help"
        for flag in (*option.flags, *option.off_flags):
            if not _FLAG.fullmatch(flag):
                yield f"flag {flag!r} is not like --name or -n"
            if flag in taken:
                yield f"flag {flag} is taken by {taken[flag]}"
            taken[flag] = "another option of this capability"


def _hooks(capability: type[AnyCapability]) -> Iterator[str]:
    for name in (*HOOKS, *PLAIN):
        if not overrides(capability, name):
            continue
        method, base = getattr(capability, name), getattr(Capability, name)
        if not callable(method):
            yield f"{name!r} is a method, not {method!r}"
            continue
        wanted = list(inspect.signature(base).parameters)
        try:
            inspect.signature(method).bind(*wanted)
        except TypeError:
            own = ", ".join(inspect.signature(method).parameters)
            yield f"{name!r} is called as {name}({', '.join(wanted)}), but takes ({own})"
        if inspect.iscoroutinefunction(base) and not inspect.iscoroutinefunction(method):
            yield f"{name!r} must be 'async def'"
        if not inspect.iscoroutinefunction(base) and inspect.iscoroutinefunction(method):
            yield f"{name!r} must be a plain 'def', not 'async def'"


def _misspelt(capability: type[AnyCapability]) -> Iterator[str]:
    commands = {method for _, method in commands_of(capability)}
    for name in sorted(set(dir(capability)) - set(dir(Capability)) - commands):
        if name.startswith("_") or not inspect.isfunction(getattr(capability, name)):
            continue
        bare = re.sub(r"^(on|when|before|after|do|vm)_|_(vm|hook)$", "", name)
        like = difflib.get_close_matches(bare, (*HOOKS, *PLAIN), n=1, cutoff=_ALIKE)
        if like:
            yield (
                f"method {name!r} is never called: is the hook {like[0]!r} meant? If not, give it "
                "another name, or one with '_' in front"
            )


def _commands(capability: type[AnyCapability]) -> Iterator[str]:
    for syntax, method in commands_of(capability):
        words = " ".join(syntax.path)
        if len(syntax.path) not in (2, 3):
            yield f"command {words!r}: a path has two or three words"
        if syntax.path in MODULES or syntax.path[:1] in MODULES:
            yield f"command {words!r} is one of banger's own"
        if not syntax.summary:
            yield f"command {words!r} has no summary"
        function = getattr(capability, method)
        if not inspect.iscoroutinefunction(function):
            yield f"command {words!r}: {method!r} must be 'async def'"
        elif len(inspect.signature(function).parameters) != 2:
            yield f"command {words!r}: {method!r} takes (self, call) and nothing else"


def _entry_point(capability: type[AnyCapability]) -> Iterator[str]:
    """Nothing to say of a class whose distribution is not installed."""
    value = f"{capability.__module__}:{capability.__qualname__}"
    there = [entry for entry in entry_points(group=GROUP) if entry.value == value]
    for entry in there:
        if entry.name != capability.name:
            yield f"the entry point is called {entry.name!r}, the capability {capability.name!r}"
    if not there:
        package = capability.__module__.partition(".")[0]
        if owners := packages_distributions().get(package):
            yield (
                f"{owners[0]} is installed without the entry point '{capability.name} = {value}' "
                f"of the group {GROUP}: daemons won't find it"
            )
