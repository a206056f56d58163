"""Which events are wanted."""

from __future__ import annotations

import pytest

from banger.kernel.errors import UsageError
from banger.model.event_filter import fits, parse_filters
from banger.model.events import CapabilityDisabled, StageFinished, VmStateChanged
from banger.model.vm import VmState

STAGE = StageFinished("web-1", "create", "agent", 1.5, "")
STATE = VmStateChanged("web-2", VmState.CRASHED, "signal 9")


@pytest.mark.parametrize(
    ("filters", "stage", "state"),
    [
        ([], True, True),
        (["type=vm-state"], False, True),
        (["type=stage-*"], True, False),
        (["vm=web-1"], True, False),
        (["vm=web-?"], True, True),
        (["vm=web-1", "vm=web-2"], True, True),
        (["vm=web-*", "state=crashed"], False, True),
        (["reason=*9"], False, True),
        (["duration_ms=1.5"], True, False),
        (["stage=agent", "operation=start"], False, False),
    ],
)
def test_filters(filters: list[str], stage: bool, state: bool) -> None:
    wanted = parse_filters(filters)
    assert fits(STAGE, wanted) is stage
    assert fits(STATE, wanted) is state
    assert not fits(CapabilityDisabled("nat", ""), {"vm": ["*"]})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("vm", "is no filter"),
        ("=x", "no event has a field ''"),
        ("name=web", "no event has a field 'name'"),
        ("type=vm-stat", "no event is of type 'vm-stat'"),
    ],
)
def test_mistakes_are_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_filters([text])
