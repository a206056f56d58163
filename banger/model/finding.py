"""What a check of the host found."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Level(StrEnum):
    """``FAILED``: something that is needed does not work."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


class Finding(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of ``banger doctor``. The field names are a stable interface."""

    check: str
    level: Level
    summary: str
    """What was found, with the value, and what that means."""
    remedy: str = ""
    """What to do, as it can be pasted where that is possible; "" when all is well."""
    fixable: bool = False
    """``banger doctor --fix`` does it."""
    fixed: str = ""
    """What ``--fix`` has done."""
