"""Starts that fail leave a stopped VM; creates that do so before there is a guest, nothing."""

from __future__ import annotations

import pytest

from banger.kernel.errors import BangerError
from banger.kernel.message import Fault
from banger.model.requests.events import ReadEvents
from banger.model.requests.vms import StartVm
from tests.vm.faults import (
    BEFORE_SEED,
    GUEST_STAGES,
    HOST_STAGES,
    Traces,
    await_stage,
    check_one_that_fails,
    check_one_whose_client_is_killed,
    check_one_whose_daemon_is_killed,
)
from tests.vm.instance import Instance, is_alive, wait_until

UNSEEDED = ("--memory", "192")
"""Of this shape there is no warm seed, so it is booted."""
START_STAGES = ["admit", *HOST_STAGES, *GUEST_STAGES]


@pytest.fixture
def traces(instance: Instance, box: str) -> Traces:
    return Traces(instance)


@pytest.mark.parametrize("stage", BEFORE_SEED)
def test_a_create_that_fails(instance: Instance, traces: Traces, stage: str) -> None:
    check_one_that_fails(instance, traces, stage)


@pytest.mark.parametrize("stage", BEFORE_SEED)
def test_a_create_whose_client_is_killed(instance: Instance, traces: Traces, stage: str) -> None:
    check_one_whose_client_is_killed(instance, traces, stage)


@pytest.mark.parametrize("stage", BEFORE_SEED)
def test_a_create_whose_daemon_is_killed(instance: Instance, traces: Traces, stage: str) -> None:
    check_one_whose_daemon_is_killed(instance, traces, stage)


@pytest.fixture(scope="module")
def idle(instance: Instance) -> str:
    """A stopped VM."""
    instance.create("idle", "--no-start")
    return "idle"


@pytest.mark.parametrize("stage", START_STAGES)
@pytest.mark.parametrize("hang", [False, True])
def test_a_start_that_fails(
    instance: Instance, idle: str, traces: Traces, stage: str, hang: bool
) -> None:
    if hang:
        with instance.connect() as events:
            events.begin(ReadEvents(follow=True))
            instance.status()
            with instance.connect() as connection:
                connection.begin(StartVm(idle, Fault(stage, hang=True)))
                await_stage(events, idle, stage)
    else:
        with instance.connect() as connection, pytest.raises(BangerError, match="injected fault"):
            connection.call(StartVm(idle, Fault(stage)))
    wait_until(lambda: instance.state(idle) == "stopped", 20, "the undoing")
    traces.assert_none_since()


def test_after_all_that_it_starts(instance: Instance, idle: str, traces: Traces) -> None:
    instance.run("vm", "start", idle)
    assert instance.sh(idle, "echo alive") == "alive\n"
    instance.run("vm", "delete", idle)


def test_the_vmm_dies_while_the_guest_boots(instance: Instance, traces: Traces) -> None:
    with instance.connect() as events:
        events.begin(ReadEvents(follow=True))
        instance.status()
        client = instance.start("vm", "create", "--name", "doomed", *UNSEEDED)
        await_stage(events, "doomed", "agent")
    pid = instance.show("doomed")["pid"]
    instance.tool("kill", "-9", str(pid))
    _, stderr = client.communicate(timeout=10)
    assert client.returncode == 1
    assert b"the guest ended before it was up" in stderr
    assert not is_alive(pid)
    traces.assert_none_since()
    instance.error("vm", "show", "doomed", code=3)
