"""Finds the recipes of images: entry points of ``banger.images``.

The entry point is a function without parameters that returns the path of a build program,
which is called as ``PROGRAM DIRECTORY`` and leaves ``root.ext4``, ``vmlinux``,
``modules.cpio`` and ``build.json`` there; see docs/guest-image.md.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path

from banger.capabilities import guard
from banger.host.distributions import owner
from banger.kernel.errors import HostNotReady, NotFound

GROUP = "banger.images"


def find_builder(recipe: str) -> Path:
    """The program that builds images of this recipe.

    Raises `NotFound`, naming the recipes there are, and `HostNotReady`, naming the
    distribution, for one that can't be used.
    """
    there = entry_points(group=GROUP)
    found = [entry for entry in there if entry.name == recipe]
    if not found:
        known = ", ".join(sorted(there.names)) or "none"
        raise NotFound(f"there is no recipe {recipe!r}", hint=f"recipes: {known}")
    owners = [owner(GROUP, entry)[0] for entry in found]
    if len(found) > 1:
        raise HostNotReady(f"{len(found)} recipes are called {recipe!r}: of {', '.join(owners)}")
    try:
        path = guard.call(lambda: Path(found[0].load()()))
    except guard.Misbehaved as error:
        raise HostNotReady(f"recipe {recipe!r} of {owners[0]} {error}") from None
    if not path.is_file():
        raise HostNotReady(f"recipe {recipe!r} of {owners[0]}: {path} is missing")
    return path
