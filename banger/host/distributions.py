"""Which installed distribution an entry point is of. Stevedore's cache forgets it."""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points


@cache
def _owners(group: str) -> dict[tuple[str, str], tuple[str, str]]:
    return {
        (entry.name, entry.value): (entry.dist.name, entry.dist.version)
        for entry in entry_points(group=group)
        if entry.dist is not None
    }


def owner(group: str, entry: EntryPoint) -> tuple[str, str]:
    """Name and version of its distribution; its own value and "" when that is not known."""
    return _owners(group).get((entry.name, entry.value), (entry.value, ""))
