"""Events as people read them."""

from __future__ import annotations

from enum import Enum

import msgspec

from banger.kernel.message import Lost
from banger.model.clock import show_duration
from banger.model.events import (
    AnyEvent,
    BuildProgress,
    CapabilityDisabled,
    GuestRebooted,
    HookProgress,
    LifetimeEnded,
    OperationEnded,
    PluginEvent,
    SeedDropped,
    SeedMade,
    SeedProgress,
    StageFinished,
    StageStarted,
    StandbyGivenBack,
    VmGone,
    VmStateChanged,
)
from banger.model.firewall import FirewallRestored
from banger.model.text import printable
from banger.model.vm import VmState


class Weight(Enum):
    """How much attention an event wants."""

    DETAIL = "detail"
    NEWS = "news"
    TROUBLE = "trouble"


class Said(msgspec.Struct, frozen=True):
    """``subject`` is what the event is about, ``text`` one line safe for a terminal."""

    subject: str
    text: str
    weight: Weight = Weight.NEWS


def describe(event: AnyEvent) -> Said:
    said = _describe(event)
    return Said(printable(said.subject), printable(said.text), said.weight)


def _describe(event: AnyEvent) -> Said:
    match event:
        case StageStarted(vm, operation, stage):
            return Said(vm, f"{operation}: {stage} …", Weight.DETAIL)
        case StageFinished(vm, operation, stage, duration_ms, note):
            took = f"{operation}: {stage} took {show_duration(duration_ms)}"
            return Said(vm, f"{took}, {note}" if note else took, Weight.DETAIL)
        case OperationEnded(vm, operation, duration_ms, error):
            if error:
                failed = f"{operation} failed after {show_duration(duration_ms)}: {error}"
                return Said(vm, failed, Weight.TROUBLE)
            return Said(vm, f"{operation} took {show_duration(duration_ms)}")
        case VmStateChanged(vm, state, reason):
            bad = state in (VmState.CRASHED, VmState.FAILED)
            text = f"{state}: {reason}" if reason else str(state)
            return Said(vm, text, Weight.TROUBLE if bad else Weight.NEWS)
        case LifetimeEnded(vm, why):
            return Said(vm, f"ends by itself: {why}")
        case VmGone(vm):
            return Said(vm, "gone")
        case GuestRebooted(vm):
            return Said(vm, "the guest rebooted")
        case HookProgress(vm, capability, _, text):
            return Said(vm, f"{capability}: {text}", Weight.DETAIL)
        case BuildProgress(image, step, line):
            return Said(image, step or line, Weight.DETAIL)
        case SeedProgress(image, step):
            return Said(image, f"warm seed: {step}", Weight.DETAIL)
        case SeedMade(image, seed, duration_ms):
            return Said(image, f"warm seed {seed} made in {show_duration(duration_ms)}")
        case SeedDropped(image, seed, reason):
            return Said(image, f"warm seed {seed} dropped: {reason}", Weight.TROUBLE)
        case StandbyGivenBack(count, reason):
            return Said("-", f"{count} standby VMs given back: {reason}", Weight.TROUBLE)
        case CapabilityDisabled(capability, reason):
            return Said(capability, f"turned off: {reason}", Weight.TROUBLE)
        case FirewallRestored(table, reason):
            return Said(table, f"rules were {reason} and are restored", Weight.TROUBLE)
        case PluginEvent(capability, kind, data):
            return Said(capability, f"{kind} {msgspec.json.encode(data).decode()}")
        case Lost(count):
            return Said("-", f"{count} events were lost", Weight.TROUBLE)
