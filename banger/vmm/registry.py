"""Finds the driver: an entry point of the group ``banger.vmm``, so it may be anybody's.

The entry point is a function of a `DriverContext` that returns a `Vmm`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint
from typing import Any

from stevedore import ExtensionManager

from banger.host.distributions import owner
from banger.kernel.errors import HostNotReady, UsageError
from banger.vmm.base import DriverContext, Vmm

GROUP = "banger.vmm"


def load_driver(name: str, context: DriverContext) -> Vmm:
    """The driver of that name. Raises `UsageError` for an unknown or doubled one, and
    `HostNotReady`, naming the distribution, for one that can't be loaded."""
    broken: dict[str, str] = {}

    def failed(manager: object, entry: EntryPoint, error: BaseException) -> None:
        broken[entry.name] = f"{owner(GROUP, entry)[0]}: {error!r}"

    manager: ExtensionManager[Any] = ExtensionManager(
        GROUP, invoke_on_load=False, on_load_failure_callback=failed, propagate_map_exceptions=True
    )
    if name in broken:
        raise HostNotReady(f"driver {name!r} can't be loaded from {broken[name]}")
    found = [extension for extension in manager.extensions if extension.name == name]
    if len(found) != 1:
        known = ", ".join(sorted(manager.entry_points_names())) or "none"
        raise UsageError(
            f"{len(found)} drivers are called {name!r}" if found else f"no driver {name!r}",
            hint=f"installed drivers: {known}",
        )
    factory: Callable[[DriverContext], Vmm] = found[0].plugin
    return factory(context)
