"""Which verbs are legal in which state."""

from __future__ import annotations

import itertools

import pytest

from banger.kernel.errors import IllegalState
from banger.model.vm import Verb, VmState, guard

LEGAL = {
    (VmState.RUNNING, Verb.STOP),
    (VmState.RUNNING, Verb.RESTART),
    (VmState.RUNNING, Verb.PAUSE),
    (VmState.RUNNING, Verb.SNAPSHOT),
    (VmState.RUNNING, Verb.RESTORE),
    (VmState.RUNNING, Verb.SUSPEND),
    (VmState.RUNNING, Verb.SET),
    (VmState.RUNNING, Verb.EXEC),
    (VmState.RUNNING, Verb.DELETE),
    (VmState.PAUSED, Verb.RESUME),
    (VmState.PAUSED, Verb.SNAPSHOT),
    (VmState.PAUSED, Verb.RESTORE),
    (VmState.PAUSED, Verb.SUSPEND),
    (VmState.PAUSED, Verb.STOP),
    (VmState.PAUSED, Verb.DELETE),
    (VmState.STOPPED, Verb.START),
    (VmState.STOPPED, Verb.RESTORE),
    (VmState.STOPPED, Verb.SET),
    (VmState.STOPPED, Verb.DELETE),
    (VmState.SUSPENDED, Verb.START),
    (VmState.SUSPENDED, Verb.RESTORE),
    (VmState.SUSPENDED, Verb.STOP),
    (VmState.SUSPENDED, Verb.DELETE),
    (VmState.CRASHED, Verb.START),
    (VmState.CRASHED, Verb.RESTORE),
    (VmState.CRASHED, Verb.SET),
    (VmState.CRASHED, Verb.DELETE),
    (VmState.FAILED, Verb.DELETE),
}


@pytest.mark.parametrize(("state", "verb"), sorted(itertools.product(VmState, Verb)))
def test_every_verb_in_every_state(state: VmState, verb: Verb) -> None:
    if (state, verb) in LEGAL:
        guard("web-1", state, verb)
        return
    with pytest.raises(IllegalState) as caught:
        guard("web-1", state, verb)
    assert caught.value.message == f"can't {verb} VM 'web-1': it is {state}"
    legal_now = sorted(other for at, other in LEGAL if at == state)
    if state is VmState.PAUSED and verb is not Verb.PAUSE:
        legal = ", ".join(legal_now)
        assert caught.value.hint == f"'banger vm resume web-1' lets it go on; legal now: {legal}"
    elif legal_now:
        assert caught.value.hint == "legal now: " + ", ".join(legal_now)
    else:
        assert caught.value.hint == f"wait until it is no longer {state}"


def test_a_vm_at_rest_can_always_be_deleted() -> None:
    passing = {VmState.CREATING, VmState.STARTING, VmState.STOPPING, VmState.DELETING}
    for state in set(VmState) - passing:
        guard("web-1", state, Verb.DELETE)
