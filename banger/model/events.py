"""Events on the daemon's bus, as subscribers and clients see them."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from banger.kernel.message import Event, Lost
from banger.model.firewall import FirewallRestored
from banger.model.vm import VmState


class StageStarted(Event, frozen=True, tag="stage-started"):
    """``operation`` is ``create``, ``start`` …"""

    vm: str
    operation: str
    stage: str


class StageFinished(Event, frozen=True, tag="stage-finished"):
    vm: str
    operation: str
    stage: str
    duration_ms: float
    note: str


class OperationEnded(Event, frozen=True, tag="operation-ended"):
    """``error`` is "" when all went well."""

    vm: str
    operation: str
    duration_ms: float
    error: str


class VmStateChanged(Event, frozen=True, tag="vm-state"):
    vm: str
    state: VmState
    reason: str


class GuestRebooted(Event, frozen=True, tag="guest-rebooted"):
    """The guest started anew inside the same VMM: it has again what it was told at the start."""

    vm: str


class LifetimeEnded(Event, frozen=True, tag="lifetime-ended"):
    """The VM is now stopped or deleted by itself, and why."""

    vm: str
    why: str


class VmGone(Event, frozen=True, tag="vm-gone"):
    vm: str


class BuildProgress(Event, frozen=True, tag="build-progress"):
    """A step of an image build, or a line of its log when ``step`` is "", or its size so far."""

    image: str
    step: str
    line: str
    written_bytes: int = 0


class SeedProgress(Event, frozen=True, tag="seed-progress"):
    """A step of the making of a warm seed."""

    image: str
    step: str


class SeedMade(Event, frozen=True, tag="seed-made"):
    image: str
    seed: str
    duration_ms: float


class SeedDropped(Event, frozen=True, tag="seed-dropped"):
    """It did not do what it is for; VMs are booted until there is another one."""

    image: str
    seed: str
    reason: str


class StandbyGivenBack(Event, frozen=True, tag="standby-given-back"):
    """The host needs the memory of VMs that were kept ready."""

    count: int
    reason: str


class HookProgress(Event, frozen=True, tag="hook-progress"):
    """A capability tells what its hook is doing."""

    vm: str
    capability: str
    hook: str
    text: str


class CapabilityDisabled(Event, frozen=True, tag="capability-disabled"):
    """It did what none may, and is not used until the daemon is started anew."""

    capability: str
    reason: str


class PluginEvent(Event, frozen=True, tag="plugin"):
    """An event of a plugin's own: its kind, and what it has to say as plain data."""

    capability: str
    kind: str
    data: dict[str, Any]


AnyEvent = (
    Lost
    | StageStarted
    | StageFinished
    | OperationEnded
    | VmStateChanged
    | GuestRebooted
    | LifetimeEnded
    | VmGone
    | BuildProgress
    | SeedProgress
    | SeedMade
    | SeedDropped
    | StandbyGivenBack
    | HookProgress
    | CapabilityDisabled
    | FirewallRestored
    | PluginEvent
)


class Recorded(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An event as it is kept: numbers rise by one, also over restarts of the daemon."""

    seq: Annotated[int, msgspec.Meta(ge=1)]
    at: float
    """Unix seconds."""
    event: AnyEvent

    def flat(self) -> dict[str, Any]:
        """As one object: number, time and the event's own fields."""
        fields: dict[str, Any] = msgspec.to_builtins(self.event)
        return {"seq": self.seq, "at": self.at} | fields
