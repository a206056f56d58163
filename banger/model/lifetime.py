"""When a VM ends by itself."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, UnsetType

LIFETIME_MAX_S = 86400 * 3650

LifetimeSeconds = Annotated[float, msgspec.Meta(ge=1, le=LIFETIME_MAX_S)]


class Lifetime(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is kept of it in the record."""

    remove: bool = False
    """Delete the VM when it has stopped, by whatever cause."""
    expires_at: float | None = None
    """Unix seconds; the VM is deleted then, in whatever state it is."""
    idle_stop_s: LifetimeSeconds | None = None
    """Stop it after so long without use."""
    of_call: str = ""
    """The token of the one call that it belongs to: a daemon that finds it at its start, when
    there is no such call, deletes it."""


class LifetimeChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is to be set of it; what is unset stays. None: no such end."""

    remove: bool | UnsetType = UNSET
    ttl_s: LifetimeSeconds | UnsetType | None = UNSET
    """Counted from now."""
    idle_stop_s: LifetimeSeconds | UnsetType | None = UNSET

    def apply(self, before: Lifetime, now: float) -> Lifetime:
        """``now`` in Unix seconds."""
        changes: dict[str, object] = {}
        if self.remove is not UNSET:
            changes["remove"] = self.remove
        if self.ttl_s is not UNSET:
            changes["expires_at"] = None if self.ttl_s is None else now + self.ttl_s
        if self.idle_stop_s is not UNSET:
            changes["idle_stop_s"] = self.idle_stop_s
        return msgspec.structs.replace(before, **changes)


class LifetimeView(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """As ``vm show`` shows it."""

    rm: bool = False
    expires_at: str | None = None
    """UTC, RFC 3339; the VM is deleted then."""
    idle_stop_s: float | None = None
