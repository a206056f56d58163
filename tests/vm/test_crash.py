"""A VMM that dies is noticed, cleaned up after, and its VM starts again."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import msgspec
import pytest

from banger.client.connection import Connection
from banger.kernel import wire
from banger.model.events import Recorded, VmStateChanged
from banger.model.requests.events import ReadEvents
from tests.vm.instance import Instance, is_alive, wait_until

NOTICED_S = 0.5


@pytest.fixture
def victim(instance: Instance) -> Iterator[str]:
    """Made anew each time: one that was started again would not be as it began."""
    instance.create("victim")
    yield "victim"
    instance.run("vm", "delete", "victim")


def test_a_killed_vmm(instance: Instance, victim: str) -> None:
    view = instance.show(victim)
    instance.sh(victim, "echo durable >/root/file; sync")
    running = instance.start("vm", "exec", victim, "--", "sh", "-c", "echo up; exec sleep 600")
    assert running.stdout is not None
    assert running.stdout.readline() == b"up\n"
    with instance.connect() as events:
        events.begin(ReadEvents(follow=True))
        instance.status()  # so the subscription is there
        begun = time.monotonic()
        instance.tool("kill", "-9", str(view["pid"]))
        reason = await_crash(events, victim)
        assert time.monotonic() - begun < NOTICED_S
    assert reason
    _, stderr = running.communicate(timeout=5)
    assert running.returncode == 1
    assert b"lost" in stderr or b"went away" in stderr

    def given_back() -> bool:
        runtime = instance.paths.vm_runtime / view["id"][:8]
        return view["tap"] not in instance.links() and not runtime.exists()

    wait_until(given_back, 2, "the return of TAP and runtime directory")
    crashed = instance.show(victim)
    assert (crashed["state"], crashed["pid"]) == ("crashed", None)
    assert "without the guest shutting down" in crashed["reason"]
    assert "it is crashed" in instance.error("vm", "exec", victim, "--", "true", code=4)

    instance.run("vm", "start", victim)
    assert instance.show(victim)["address"] == view["address"]
    assert instance.show(victim)["reason"] == ""
    assert instance.sh(victim, "cat /root/file") == "durable\n"


def await_crash(events: Connection, name: str) -> str:
    while True:
        message = events.receive()
        if isinstance(message, wire.Item):
            event = msgspec.msgpack.decode(message.item, type=Recorded).event
            if isinstance(event, VmStateChanged) and event.vm == name:
                assert event.state == "crashed"
                return event.reason


def test_a_guest_that_panics(instance: Instance, victim: str) -> None:
    """``panic=1`` makes the kernel reboot: the VM goes on, by the same VMM."""
    pid = instance.show(victim)["pid"]
    show = "cat /proc/sys/kernel/random/boot_id"
    before = instance.sh(victim, show)
    instance.sh(victim, "sync; echo 1 >/proc/sys/kernel/sysrq; echo c >/proc/sysrq-trigger", code=1)

    def back() -> bool:
        found = instance.sh(victim, show, code=None)
        return bool(found) and found != before

    wait_until(back, 60, "the agent's answer after the panic")
    assert instance.show(victim)["pid"] == pid


def test_a_vmm_killed_while_the_daemon_is_down(instance: Instance, victim: str) -> None:
    view = instance.show(victim)
    instance.signal_daemon(signal.SIGKILL)
    instance.tool("kill", "-9", str(view["pid"]))
    wait_until(lambda: not is_alive(view["pid"]), 5, "the VMM's end")
    instance.run("daemon", "start")
    crashed = instance.show(victim)
    assert (crashed["state"], crashed["pid"]) == ("crashed", None)
    assert "while the daemon was not running" in crashed["reason"]
    assert view["tap"] not in instance.links()
    assert not (instance.paths.vm_runtime / view["id"][:8]).exists()
    instance.run("vm", "start", victim)
    assert instance.sh(victim, "echo alive") == "alive\n"


def test_a_guest_that_powers_off_while_the_daemon_is_down(instance: Instance, victim: str) -> None:
    view = instance.show(victim)
    script = "(sleep 1; echo o >/proc/sysrq-trigger) </dev/null >/dev/null 2>&1 &"
    instance.sh(victim, f"echo 1 >/proc/sys/kernel/sysrq; {script}")
    instance.signal_daemon(signal.SIGKILL)
    wait_until(lambda: not is_alive(view["pid"]), 20, "the guest's end")
    instance.run("daemon", "start")
    assert instance.state(victim) in ("crashed", "stopped"), "nobody was there to see how"
    assert view["tap"] not in instance.links()


def test_a_crashed_vm_can_be_deleted(instance: Instance) -> None:
    pid = instance.create("shortlived")["pid"]
    instance.tool("kill", "-9", str(pid))
    wait_until(lambda: instance.state("shortlived") == "crashed", 5, "the crash")
    instance.run("vm", "delete", "shortlived")
    assert "shortlived" not in instance.names()
