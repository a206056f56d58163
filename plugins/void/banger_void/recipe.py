"""The recipe ``void`` of the entry-point group ``banger.images``."""

from __future__ import annotations

from pathlib import Path


def build_program() -> Path:
    """The program that makes the image; called as ``build DIRECTORY``."""
    return Path(__file__).with_name("rootfs") / "build"
