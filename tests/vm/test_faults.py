"""Operations that fail or lose their client half-way leave nothing behind."""

from __future__ import annotations

import signal
from typing import Any

import msgspec
import pytest

from banger.kernel import wire
from banger.kernel.errors import BangerError
from banger.kernel.message import Fault
from banger.model.events import AnyEvent, Recorded, StageStarted
from banger.model.requests.events import ReadEvents
from banger.model.requests.vms import CreateVm, DeleteVm, StartVm
from tests.vm.instance import Instance, is_alive, wait_until

START_STAGES = ["admit", "tap", "prepare", "guest-config", "vmm", "agent", "configure", "started"]
CREATE_STAGES = [
    *("admit", "record", "address", "tap", "prepare", "guest-config"),
    *("seed", "root-disk", *START_STAGES[START_STAGES.index("vmm") :]),
]


class Traces:
    """What VMs have on the host now, to compare with later."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.before = self._look()

    def assert_none_since(self) -> None:
        wait_until(lambda: self._look() == self.before, 5, f"{self._look()} to be {self.before}")

    def _look(self) -> tuple[Any, ...]:
        instance = self.instance
        return (
            sorted(path.name for path in instance.paths.vms.iterdir()),
            sorted(path.name for path in instance.paths.vm_runtime.iterdir()),
            sorted(instance.leased()),
            vmm_pids(instance),
        )


def vmm_pids(instance: Instance) -> list[str]:
    found = instance.tool("pgrep", "--ns", str(instance.daemon_pid), "--nslist", "net", "qemu")
    return sorted(found.split())


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
    assert seen == CREATE_STAGES


@pytest.mark.parametrize("stage", CREATE_STAGES)
def test_a_create_that_fails(instance: Instance, traces: Traces, stage: str) -> None:
    message = instance.run(
        "vm", "create", "--name", "doomed", "--inject-fault", stage, code=1
    ).stderr
    assert f"injected fault at stage {stage}" in message
    traces.assert_none_since()
    instance.error("vm", "show", "doomed", code=3)
    assert instance.create("doomed", "--no-start")["state"] == "stopped"
    instance.run("vm", "delete", "doomed")
    assert instance.sh("box", "echo alive") == "alive\n"


@pytest.mark.parametrize("stage", CREATE_STAGES)
def test_a_create_whose_client_is_killed(instance: Instance, traces: Traces, stage: str) -> None:
    with instance.connect() as events:
        events.begin(ReadEvents(follow=True))
        instance.status()  # so the subscription is there
        create = ("vm", "create", "--name", "doomed", "--inject-fault", f"{stage}:hang")
        client = instance.start(*create)
        await_stage(events, "doomed", stage)
        client.kill()
        client.communicate()
    wait_until(lambda: "doomed" not in instance.names(), 20, "the undoing")
    traces.assert_none_since()
    instance.error("vm", "show", "doomed", code=3)
    assert instance.create("doomed", "--no-start")["state"] == "stopped"
    instance.run("vm", "delete", "doomed")


def await_stage(events: Any, name: str, stage: str) -> None:
    """Read events until this VM's stage has begun; the one before it has then ended."""
    while True:
        message = events.receive()
        if isinstance(message, wire.Item):
            event = msgspec.msgpack.decode(message.item, type=Recorded).event
            if isinstance(event, StageStarted) and (event.vm, event.stage) == (name, stage):
                return


def test_a_create_that_is_interrupted(instance: Instance, traces: Traces) -> None:
    client = instance.start("vm", "create", "--name", "doomed", "--inject-fault", "agent:hang")
    wait_until(lambda: "doomed" in instance.names(), 10, "the beginning")
    client.send_signal(signal.SIGINT)
    _, stderr = client.communicate(timeout=10)
    assert client.returncode == 130
    assert b"Traceback" not in stderr
    wait_until(lambda: "doomed" not in instance.names(), 20, "the undoing")
    traces.assert_none_since()


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
        client = instance.start("vm", "create", "--name", "doomed")
        await_stage(events, "doomed", "agent")
    pid = instance.show("doomed")["pid"]
    instance.tool("kill", "-9", str(pid))
    _, stderr = client.communicate(timeout=10)
    assert client.returncode == 1
    assert b"the guest ended before it was up" in stderr
    assert not is_alive(pid)
    traces.assert_none_since()
    instance.error("vm", "show", "doomed", code=3)


def test_faults_are_for_tests_only(new_instance: Any) -> None:
    own = new_instance(BANGER_TESTING="")
    message = own.error("vm", "create", "--name", "x", "--inject-fault", "record", code=2)
    assert "only into a daemon started for tests" in message
    assert own.names() == set()
