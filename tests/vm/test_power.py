"""Stop, start, restart, and guests that do so by themselves."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.vm.instance import Instance, is_alive, wait_until

BOOTED = "until [ -S /run/systemd/private ]; do sleep 0.2; done"


@pytest.fixture
def power(instance: Instance, way: str) -> str:
    """A running VM that may be stopped. A warm one is made anew: a started one is booted."""
    name = "power"
    if name in instance.names() and (way == "warm" or instance.state(name) != "running"):
        instance.run("vm", "delete", name)
    if name not in instance.names():
        instance.create(name)
    return name


def test_a_file_survives_stop_and_start(instance: Instance, power: str) -> None:
    before = instance.show(power)
    instance.sh(power, "echo kept >/root/file")
    assert instance.run("vm", "stop", power).stdout == "power stopped\n"
    stopped = instance.show(power)
    assert (stopped["state"], stopped["pid"], stopped["tap"]) == ("stopped", None, None)
    assert not is_alive(before["pid"])
    assert before["tap"] not in instance.links()
    assert not (instance.paths.vm_runtime / before["id"][:8]).exists()
    assert not (instance.paths.vms / power / "initramfs").exists()

    instance.run("vm", "start", power)
    started = instance.show(power)
    assert started["pid"] != before["pid"]
    for key in ("id", "address", "mac"):
        assert started[key] == before[key]
    assert instance.sh(power, "cat /root/file; cat /etc/machine-id") == f"kept\n{before['id']}\n"


def test_restart(instance: Instance, power: str) -> None:
    before = instance.show(power)["pid"]
    assert instance.run("vm", "restart", power).stdout == "power restarted\n"
    after = instance.show(power)
    assert after["state"] == "running"
    assert after["pid"] != before
    assert not is_alive(before)
    assert float(instance.sh(power, "cut -d' ' -f1 /proc/uptime")) < 30


def test_several_at_once(instance: Instance, power: str) -> None:
    instance.create("second")
    done = instance.run("vm", "stop", power, "nobody", "second", code=3)
    assert sorted(done.stdout.splitlines()) == ["power stopped", "second stopped"]
    assert "there is no VM 'nobody'" in done.stderr
    outcomes = instance.json("vm", "start", power, "second")
    assert [outcome["result"]["state"] for outcome in outcomes] == ["running", "running"]
    instance.run("vm", "delete", "second")


def test_a_forced_stop_is_quick(instance: Instance, power: str) -> None:
    instance.sh(power, "echo durable >/root/file; sync")
    begun = time.monotonic()
    instance.run("vm", "stop", "--force", power)
    assert time.monotonic() - begun < 3
    assert instance.state(power) == "stopped"
    instance.run("vm", "start", power)
    assert instance.sh(power, "cat /root/file") == "durable\n"


def test_power_off_from_inside(instance: Instance, power: str) -> None:
    tap, pid = instance.show(power)["tap"], instance.show(power)["pid"]
    instance.sh(power, f"{BOOTED}; systemctl poweroff", code=None)
    view = instance.json("vm", "wait", power, "--for", "stopped", "--timeout", "90")
    assert (view["state"], view["reason"]) == ("stopped", "")
    assert not is_alive(pid)
    wait_until(lambda: tap not in instance.links(), 2, "the TAP's return")


def test_reboot_from_inside(instance: Instance, power: str) -> None:
    before = instance.show(power)
    show = "cat /proc/sys/kernel/random/boot_id"
    first = instance.sh(power, show)
    instance.sh(power, f"{BOOTED}; systemctl reboot", code=None)

    def rebooted() -> bool:
        found = instance.sh(power, show, code=None)
        return bool(found) and found != first

    wait_until(rebooted, 90, "the agent's answer after the reboot")
    after = instance.show(power)
    for key in ("pid", "tap", "address", "state"):
        assert after[key] == before[key]
    assert instance.sh(power, "hostname") == "power\n"
    assert f" {after['address']}/" in instance.sh(power, "ip -4 addr show dev eth0")


def test_a_vmm_that_hangs_can_be_stopped(instance: Instance, power: str) -> None:
    pid = instance.show(power)["pid"]
    instance.tool("kill", "-STOP", str(pid))
    begun = time.monotonic()
    assert instance.state(power) == "running"
    assert time.monotonic() - begun < 2
    instance.run("vm", "stop", "--force", power)
    assert not Path(f"/proc/{pid}").exists()
    assert instance.state(power) == "stopped"


def test_a_stop_goes_on_without_its_client(instance: Instance, power: str) -> None:
    client = instance.start("vm", "stop", power)
    wait_until(lambda: instance.state(power) != "running", 5, "the beginning")
    client.kill()
    instance.run("vm", "wait", power, "--for", "stopped", "--timeout", "90")
    assert instance.state(power) == "stopped"
    instance.run("vm", "delete", power)
