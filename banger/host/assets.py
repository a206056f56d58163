"""What the checkout brings beside the Python code: the guest agent and the image recipes."""

from __future__ import annotations

from pathlib import Path

from banger.kernel.errors import HostNotReady, NotFound

_CHECKOUT = Path(__file__).resolve().parents[2]


def agent_binary() -> Path:
    path = _CHECKOUT / "guest-agent" / "build" / "banger-agent"
    if not path.exists():
        raise HostNotReady(
            f"the guest agent is not built: {path} is missing", hint="run 'make setup'"
        )
    return path


def recipe_builder(recipe: str) -> Path:
    """The program that builds images of this recipe."""
    path = _CHECKOUT / "rootfs" / recipe / "build"
    if not path.exists():
        known = sorted(found.parent.name for found in (_CHECKOUT / "rootfs").glob("*/build"))
        raise NotFound(f"there is no recipe {recipe!r}", hint=f"recipes: {', '.join(known)}")
    return path
