"""Events as people read them."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from banger.kernel.message import Lost
from banger.model.event_text import Weight, describe
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
from banger.model.vm import VmState

SAID: list[tuple[Any, str, str, Weight]] = [
    (StageStarted("a", "create", "vmm"), "a", "create: vmm …", Weight.DETAIL),
    (
        StageFinished("a", "create", "vmm", 1600, "pid 7"),
        *("a", "create: vmm took 1.6 s, pid 7", Weight.DETAIL),
    ),
    (OperationEnded("a", "create", 5, ""), "a", "create took 5 ms", Weight.NEWS),
    (OperationEnded("a", "start", 5, "no"), "a", "start failed after 5 ms: no", Weight.TROUBLE),
    (VmStateChanged("a", VmState.RUNNING, ""), "a", "running", Weight.NEWS),
    (VmStateChanged("a", VmState.CRASHED, "why"), "a", "crashed: why", Weight.TROUBLE),
    (GuestRebooted("a"), "a", "the guest rebooted", Weight.NEWS),
    (LifetimeEnded("a", "not used"), "a", "ends by itself: not used", Weight.NEWS),
    (VmGone("a"), "a", "gone", Weight.NEWS),
    (BuildProgress("i", "unpack", ""), "i", "unpack", Weight.DETAIL),
    (SeedProgress("i", "boot"), "i", "warm seed: boot", Weight.DETAIL),
    (SeedMade("i", "s1", 12000), "i", "warm seed s1 made in 12.0 s", Weight.NEWS),
    (
        StandbyGivenBack(2, "no memory"),
        "-",
        "2 standby VMs given back: no memory",
        Weight.TROUBLE,
    ),
    (SeedDropped("i", "s1", "cut"), "i", "warm seed s1 dropped: cut", Weight.TROUBLE),
    (HookProgress("a", "nat", "prepare", "x\x1b[2J"), "a", "nat: x?[2J", Weight.DETAIL),
    (CapabilityDisabled("nat", "it hung"), "nat", "turned off: it hung", Weight.TROUBLE),
    (
        FirewallRestored("b0", "removed"),
        "b0",
        "rules were removed and are restored",
        Weight.TROUBLE,
    ),
    (PluginEvent("dns", "taken", {"port": 53}), "dns", 'taken {"port":53}', Weight.NEWS),
    (Lost(3), "-", "3 events were lost", Weight.TROUBLE),
]


@pytest.mark.parametrize(("event", "subject", "text", "weight"), SAID)
def test_text(event: Any, subject: str, text: str, weight: Weight) -> None:
    said = describe(event)
    assert (said.subject, said.text, said.weight) == (subject, text, weight)


def test_every_event_has_one() -> None:
    assert {type(event) for event, *_ in SAID} == set(get_args(AnyEvent))
