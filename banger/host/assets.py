"""What the checkout brings beside the Python code: the guest agent and the Debian recipe."""

from __future__ import annotations

from pathlib import Path

from banger.kernel.errors import HostNotReady

_CHECKOUT = Path(__file__).resolve().parents[2]


def agent_binary() -> Path:
    path = _CHECKOUT / "guest-agent" / "build" / "banger-agent"
    if not path.exists():
        raise HostNotReady(
            f"the guest agent is not built: {path} is missing", hint="run 'make setup'"
        )
    return path


def work_seed_program() -> Path:
    """The program that makes a work seed of a directory."""
    return _CHECKOUT / "rootfs" / "work-seed"


def debian_recipe() -> Path:
    """The program that builds the Debian image."""
    return _CHECKOUT / "rootfs" / "debian" / "build"
