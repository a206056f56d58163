"""Snapshots, forks and suspended VMs of real guests: one VM, taken through all of it in order."""

from __future__ import annotations

import re
import signal
import time

import pytest

from tests.vm.instance import Instance, wait_until

IDENTITY = (
    "hostname; cat /etc/machine-id /proc/sys/kernel/random/boot_id /sys/class/net/eth0/address;"
    " ip -4 -o addr show dev eth0; cut -d' ' -f2 /etc/ssh/ssh_host_ed25519_key.pub;"
    " head -c16 /dev/urandom | od -An -tx1"
)
INHERITED = "cat /root/work /etc/root /run/memory; pgrep -cx sleep"


@pytest.fixture(scope="module")
def parent(instance: Instance) -> str:
    """With something on each disk and in memory."""
    instance.create("parent")
    instance.sh(
        "parent",
        "echo work >/root/work; echo root >/etc/root; echo memory >/run/memory;"
        " setsid sleep 4711 >/dev/null 2>&1 </dev/null &",
    )
    return "parent"


def layers(instance: Instance) -> set[str]:
    return {path.name for path in instance.paths.layers.glob("*")}


def test_forks_share_no_identity(instance: Instance, parent: str) -> None:
    outcome = instance.json("vm", "fork", parent, "fork-1", "fork-2")
    assert [view["name"] for view in outcome["vms"]] == ["fork-1", "fork-2"]
    assert outcome["paused_ms"] < 1000
    names = [parent, "fork-1", "fork-2"]
    # One command each: processes are dear in guests that boot beside each other.
    said = [instance.sh(name, f"{INHERITED}; {IDENTITY}").splitlines() for name in names]
    for name, lines in zip(names, said, strict=True):
        assert lines[:4] == ["work", "root", "memory", "1"]
        assert lines[4] == name
    for parts in zip(*(lines[4:] for lines in said), strict=True):
        assert len(set(parts)) == 3
    # What one writes nobody else sees, and a fork is a VM like others.
    instance.sh("fork-1", "echo own >/root/work; sync")
    instance.run("vm", "stop", "--force", "fork-1")
    instance.run("vm", "start", "fork-1")
    assert instance.sh("fork-1", "cat /root/work /etc/root") == "own\nroot\n"
    assert instance.sh(parent, "cat /root/work") == "work\n"
    instance.run("vm", "delete", "fork-1", "fork-2")
    assert not [*instance.paths.forks.glob("*")]


def test_back_to_a_snapshot(instance: Instance, parent: str) -> None:
    view = instance.json("vm", "snapshot", "create", parent, "ready")
    assert view["memory_bytes"] > 1 << 20
    instance.sh(parent, "echo later >/root/work; echo later >/run/memory; pkill sleep; sync")
    restored = instance.json("vm", "snapshot", "restore", parent, "ready")
    assert restored["state"] == "running"
    assert instance.sh(parent, INHERITED) == "work\nroot\nmemory\n1\n"
    assert abs(float(instance.sh(parent, "date +%s")) - time.time()) < 5
    error = instance.error("vm", "snapshot", "restore", parent, "other", code=3)
    assert "has no snapshot 'other'" in error


@pytest.mark.parametrize("stage", ["root-disk", "vmm", "configure"])
def test_a_vm_from_a_snapshot_that_fails(instance: Instance, parent: str, stage: str) -> None:
    before = layers(instance)
    source = ("--from-snapshot", f"{parent}:ready")
    instance.error("vm", "create", "copy", *source, "--inject-fault", stage, code=1)
    assert "copy" not in instance.names()
    assert layers(instance) == before


def test_a_vm_from_a_snapshot_outlives_it(instance: Instance, parent: str) -> None:
    instance.run("vm", "create", "copy", "--from-snapshot", f"{parent}:ready")
    instance.run("vm", "snapshot", "delete", parent, "ready")
    assert instance.json("vm", "snapshot", "list", parent) == []
    assert instance.sh("copy", INHERITED) == "work\nroot\nmemory\n1\n"
    instance.run("vm", "delete", "copy")


def test_suspended_without_a_daemon(instance: Instance, parent: str) -> None:
    boot = instance.sh(parent, "cat /proc/sys/kernel/random/boot_id")
    pid = instance.show(parent)["pid"]
    assert instance.run("vm", "stop", "--suspend", parent).stdout == f"{parent} suspended\n"
    assert instance.show(parent)["pid"] is None
    instance.signal_daemon(signal.SIGKILL)
    assert instance.state(parent) == "suspended"
    instance.run("vm", "start", parent)
    assert instance.show(parent)["pid"] != pid
    assert instance.sh(parent, INHERITED) == "work\nroot\nmemory\n1\n"
    assert instance.sh(parent, "cat /proc/sys/kernel/random/boot_id") == boot


def test_a_fork_of_a_vm_that_stops(instance: Instance, parent: str) -> None:
    before = layers(instance)
    stopping = instance.start("vm", "stop", parent)
    wait_until(lambda: instance.state(parent) != "running", 10, "the beginning of the stop")
    error = instance.error("vm", "fork", parent, "late", code=4)
    assert re.search(r"it is stopp(ing|ed) ", error), error
    assert stopping.wait(60) == 0
    assert layers(instance) == before
    instance.run("vm", "start", parent)


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_vm_that_ends_while_it_is_forked(instance: Instance, parent: str, end: str) -> None:
    """The fork is there and works, or there is nothing of it and its client is told why."""
    forking = instance.start("vm", "fork", parent, "late")
    wait_until(lambda: bool([*instance.paths.forks.glob("*")]), 20, "the beginning of the fork")
    if end == "stop":
        instance.run("vm", "stop", "--force", parent, code=None)
    else:
        instance.tool("kill", "-9", str(instance.show(parent)["pid"]))
    _, stderr = forking.communicate(timeout=60)
    if forking.returncode == 0:
        assert instance.sh("late", "hostname; cat /root/work") == "late\nwork\n"
        instance.run("vm", "delete", "late")
    else:
        assert re.fullmatch(rb"banger: [^\n]+\n", stderr), stderr
        assert b"internal error" not in stderr
    assert "late" not in instance.names()
    assert not [*instance.paths.forks.glob("*")]
    if instance.state(parent) != "running":
        instance.run("vm", "start", parent)
    assert instance.sh(parent, "cat /root/work /etc/root") == "work\nroot\n"


def test_a_daemon_killed_while_a_snapshot_is_made(instance: Instance, parent: str) -> None:
    client = instance.start("vm", "snapshot", "create", parent, "torn")
    making = instance.paths.vms / parent / "snapshots"
    wait_until(lambda: bool([*making.glob(".making-*")]) or client.poll() is not None, 10, "it")
    instance.signal_daemon(signal.SIGKILL)
    client.wait(10)
    if instance.state(parent) == "paused":
        # It was killed in the few milliseconds in which the guest stands still.
        instance.run("vm", "resume", parent)
    assert instance.sh(parent, "cat /root/work; echo new >/root/new; sync") == "work\n"
    assert not [*making.glob(".making-*")]
    instance.run("vm", "stop", "--force", parent)
    instance.run("vm", "start", parent)
    assert instance.sh(parent, "cat /root/work /root/new /etc/root") == "work\nnew\nroot\n"
    instance.run("vm", "delete", parent)
    wait_until(lambda: not layers(instance), 5, "the removal of the layers")
