"""How the guests of an image run: what the record beside its files says."""

from __future__ import annotations

from pathlib import Path

from banger.host.image_files import image_store
from banger.kernel.errors import CorruptRecord
from banger.model.image import ImageRecord


def record_beside(directory: Path) -> ImageRecord | None:
    """The record in an image's directory; None when it is gone or can't be read."""
    try:
        return image_store(directory.parent).load(directory.name)
    except (FileNotFoundError, CorruptRecord):
        # Whoever needs its files finds that out, and says so.
        return None
