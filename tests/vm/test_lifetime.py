"""VMs that end by themselves, and daemons that end meanwhile."""

from __future__ import annotations

import signal

from tests.vm.instance import Instance, wait_until


def test_rm_and_a_shutdown_in_the_guest(instance: Instance) -> None:
    instance.run("vm", "create", "job", "--rm", "--ttl", "1h")
    before = instance.show("job")["lifetime"]
    assert before["rm"] is True
    instance.signal_daemon(signal.SIGKILL)
    assert instance.show("job")["lifetime"] == before
    assert "in 59m" in instance.run("vm", "show", "job").stdout
    instance.sh("job", "sync; echo o >/proc/sysrq-trigger", code=None)
    wait_until(lambda: "job" not in instance.names(), 30, "the deletion")
    assert not (instance.paths.vms / "job").exists()


def test_a_time_to_live_that_ends_without_a_daemon(instance: Instance) -> None:
    instance.run("vm", "create", "late", "--no-start", "--ttl", "1s")
    instance.signal_daemon(signal.SIGKILL)
    wait_until(lambda: "late" not in instance.names(), 10, "the deletion")


def test_idle_stop(instance: Instance, box: str) -> None:
    instance.run("vm", "set", box, "--idle-stop", "2s")
    assert "after 2s without use" in instance.run("vm", "show", box).stdout
    instance.sh(box, "sleep 3")
    assert instance.state(box) == "running"
    view = instance.json("vm", "wait", box, "--for", "stopped", "--timeout", "60")
    assert (view["state"], view["reason"]) == ("stopped", "not used for 2s")
    instance.run("vm", "set", box, "--idle-stop", "none")
    assert instance.show(box)["lifetime"]["idle_stop_s"] is None
