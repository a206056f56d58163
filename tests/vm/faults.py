"""Creates that are ended at a stage, and how to see that nothing of them is left."""

from __future__ import annotations

import signal
import subprocess
from typing import Any

import msgspec

from banger.kernel import wire
from banger.model.events import Recorded, StageStarted
from banger.model.requests.events import ReadEvents
from tests.vm.instance import Instance, wait_until

HOST_STAGES = ["tap", "prepare", "guest-config"]
GUEST_STAGES = ["vmm", "agent", "configure", "started"]
BEFORE_SEED = ["standby", "admit", "record", "address", *HOST_STAGES]
"""Of a create: in these nobody knows yet whether the guest is booted."""
FROM_SEED = ["seed", "root-disk", *GUEST_STAGES]


class Traces:
    """What VMs have on the host now, to compare with later."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.before = self._look()

    @property
    def vmms(self) -> list[int]:
        return list(self.before[-1])

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


def vmm_pids(instance: Instance) -> list[int]:
    """Of the VMs' QEMUs in the instance's network, not of those that seeds are made with."""
    (holder,) = instance.holders
    argv = ["pgrep", "--ns", str(holder), "--nslist", "net", "--list-full", "qemu"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    # By their names, which what has ended has not, whether it was collected already or not.
    names = {"doomed", *(path.name for path in instance.paths.vms.iterdir())}
    vms = [
        line
        for line in done.stdout.splitlines()
        if line.partition(" -name ")[2].partition(",")[0] in names
    ]
    return sorted(int(line.split()[0]) for line in vms)


def await_stage(events: Any, name: str, stage: str) -> None:
    """Read events until this VM's stage has begun; the one before it has then ended."""
    while True:
        message = events.receive()
        if isinstance(message, wire.Item):
            event = msgspec.msgpack.decode(message.item, type=Recorded).event
            if isinstance(event, StageStarted) and (event.vm, event.stage) == (name, stage):
                return


def check_one_that_fails(instance: Instance, traces: Traces, stage: str) -> None:
    message = instance.run(
        "vm", "create", "--name", "doomed", "--inject-fault", stage, code=1
    ).stderr
    assert f"injected fault at stage {stage}" in message
    traces.assert_none_since()
    instance.error("vm", "show", "doomed", code=3)
    assert instance.create("doomed", "--no-start")["state"] == "stopped"
    instance.run("vm", "delete", "doomed")
    assert instance.sh("box", "echo alive") == "alive\n"


def check_one_whose_client_is_killed(instance: Instance, traces: Traces, stage: str) -> None:
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


def check_one_whose_daemon_is_killed(instance: Instance, traces: Traces, stage: str) -> None:
    """The next one undoes it."""
    with instance.connect() as events:
        events.begin(ReadEvents(follow=True))
        instance.status()
        client = instance.start(
            "vm", "create", "--name", "doomed", "--inject-fault", "started:hang"
        )
        await_stage(events, "doomed", stage)
        instance.signal_daemon(signal.SIGKILL)
    client.communicate(timeout=5)
    assert client.returncode == 1
    if stage in GUEST_STAGES[1:]:
        assert len(vmm_pids(instance)) == len(traces.vmms) + 1, "nobody has ended it yet"
    instance.run("daemon", "start")
    wait_until(lambda: "doomed" not in instance.names(), 5, "the undoing")
    traces.assert_none_since()
    assert instance.create("doomed", "--no-start")["state"] == "stopped"
    instance.run("vm", "delete", "doomed")
    assert instance.sh("box", "echo alive") == "alive\n"
