"""Creates that fail, or lose their client or daemon half-way, leave nothing behind."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from banger.model.events import AnyEvent, StageStarted
from banger.model.requests.vms import CreateVm, DeleteVm
from tests.vm.faults import (
    BEFORE_SEED,
    FROM_SEED,
    Traces,
    check_one_that_fails,
    check_one_whose_client_is_killed,
    check_one_whose_daemon_is_killed,
)
from tests.vm.instance import Instance, wait_until


@pytest.fixture
def traces(instance: Instance, box: str) -> Traces:
    """With the shared VM running there is something to harm."""
    return Traces(instance)


def test_the_stages_are_these(instance: Instance, box: str) -> None:
    """A stage that is added must be added here."""
    with instance.connect() as connection:
        seen: list[str] = []

        def take(event: object) -> None:
            if isinstance(event, StageStarted):
                seen.append(event.stage)

        connection.call(CreateVm(name="stages"), items=AnyEvent, on_item=take)
        connection.call(DeleteVm("stages"))
    assert seen == [*BEFORE_SEED, *FROM_SEED]


@pytest.mark.parametrize("stage", FROM_SEED)
def test_a_create_that_fails(instance: Instance, traces: Traces, stage: str) -> None:
    check_one_that_fails(instance, traces, stage)


@pytest.mark.parametrize("stage", FROM_SEED)
def test_a_create_whose_client_is_killed(instance: Instance, traces: Traces, stage: str) -> None:
    check_one_whose_client_is_killed(instance, traces, stage)


@pytest.mark.parametrize("stage", FROM_SEED)
def test_a_create_whose_daemon_is_killed(instance: Instance, traces: Traces, stage: str) -> None:
    check_one_whose_daemon_is_killed(instance, traces, stage)


def test_a_create_that_is_interrupted(instance: Instance, traces: Traces) -> None:
    client = instance.start("vm", "create", "--name", "doomed", "--inject-fault", "agent:hang")
    wait_until(lambda: "doomed" in instance.names(), 10, "the beginning")
    client.send_signal(signal.SIGINT)
    _, stderr = client.communicate(timeout=10)
    assert client.returncode == 130
    assert b"Traceback" not in stderr
    wait_until(lambda: "doomed" not in instance.names(), 20, "the undoing")
    traces.assert_none_since()


def test_faults_are_for_tests_only(new_instance: Any) -> None:
    own = new_instance(BANGER_TESTING="")
    message = own.error("vm", "create", "--name", "x", "--inject-fault", "record", code=2)
    assert "only into a daemon started for tests" in message
    assert own.names() == set()
