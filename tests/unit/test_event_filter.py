"""Which events are wanted."""

from __future__ import annotations

import msgspec
import pytest

from banger.kernel.errors import UsageError
from banger.model.event_filter import fits, parse_filters
from banger.model.events import CapabilityDisabled, StageFinished, VmStateChanged
from banger.model.requests.events import ReadEvents
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


def test_filters_are_bounded() -> None:
    with pytest.raises(UsageError, match="more than 200 characters"):
        parse_filters(["vm=" + "*" * 201])
    with pytest.raises(UsageError, match="more than 32 filters"):
        parse_filters(["vm=*"] * 33)
    decoder = msgspec.msgpack.Decoder(ReadEvents)
    for where in ({"vm": ["*" * 201]}, {"vm": ["*"] * 33}, {str(n): [""] for n in range(33)}):
        with pytest.raises(msgspec.ValidationError):
            decoder.decode(msgspec.msgpack.encode(ReadEvents(where=where)))


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
