"""Base of replies and of the items of streams."""

from __future__ import annotations

import msgspec


class Reply(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of replies and stream items."""
