"""What a running machine has beside its plan."""

from __future__ import annotations

import msgspec


class Fittings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A state fits a machine with the same only."""

    agent_ports: int
    balloon: bool
