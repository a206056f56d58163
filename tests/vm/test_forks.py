"""Forks of a guest that began in a warm seed: their memory is apart from their state."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vm.instance import Instance, wait_until

CHILDREN = ("child-1", "child-2", "child-3")


@pytest.fixture(scope="module")
def parent(warm_instance: Instance) -> Iterator[str]:
    warm_instance.create("parent")
    warm_instance.sh("parent", "echo before >/run/memory; head -c 20000000 /dev/urandom >/run/much")
    yield "parent"
    warm_instance.run("vm", "delete", "parent")


def memory_kib(instance: Instance, name: str, kind: str) -> int:
    """Of the guest's memory, as its VMM has it mapped."""
    total = 0
    counted = False
    for line in Path(f"/proc/{instance.show(name)['pid']}/smaps").read_text().splitlines():
        if "-" in line.split(" ", 1)[0]:
            counted = "memfd:banger-ram" in line
        elif counted and line.startswith(f"{kind}:"):
            total += int(line.split()[1])
    return total


def test_several_at_once_share_memory(warm_instance: Instance, parent: str) -> None:
    digest = warm_instance.sh(parent, "sha256sum /run/much")
    outcome = warm_instance.json("vm", "fork", parent, *CHILDREN)
    assert outcome["paused_ms"] < 1000
    # The parent goes on, and what it writes is its own.
    warm_instance.sh(parent, "echo after >/run/memory")
    said = {name: warm_instance.sh(name, "cat /run/memory; hostname") for name in CHILDREN}
    assert said == {name: f"before\n{name}\n" for name in CHILDREN}
    for name in CHILDREN:
        assert warm_instance.sh(name, "sha256sum /run/much") == digest
        # The 20 MB of the parent's are among what each has mapped, and no page is one's own
        # but those that it has written since.
        assert memory_kib(warm_instance, name, "Rss") > 40 << 10
        assert memory_kib(warm_instance, name, "Private_Dirty") < 40 << 10
        assert memory_kib(warm_instance, name, "Shared_Clean") + memory_kib(
            warm_instance, name, "Shared_Dirty"
        ) > memory_kib(warm_instance, name, "Private_Dirty")
    warm_instance.sh("child-1", "echo own >/run/memory")
    assert warm_instance.sh("child-2", "cat /run/memory") == "before\n"
    warm_instance.run("vm", "delete", *CHILDREN)


def test_a_fork_of_a_fork_boots_again(warm_instance: Instance, parent: str) -> None:
    warm_instance.sh(parent, "echo disk >/etc/written; sync")
    warm_instance.json("vm", "fork", parent, "child")
    warm_instance.sh("child", "echo child >/run/memory")
    warm_instance.json("vm", "fork", "child", "grandchild")
    warm_instance.run("vm", "delete", "child")
    assert warm_instance.sh("grandchild", "cat /run/memory /etc/written") == "child\ndisk\n"
    warm_instance.run("vm", "restart", "grandchild")
    assert warm_instance.sh("grandchild", "cat /etc/written; hostname") == "disk\ngrandchild\n"
    warm_instance.run("vm", "delete", "grandchild")


def test_a_paused_parent_stays_paused(warm_instance: Instance, parent: str) -> None:
    warm_instance.run("vm", "pause", parent)
    warm_instance.json("vm", "fork", parent, "child")
    assert warm_instance.state(parent) == "paused"
    assert warm_instance.sh("child", "hostname") == "child\n"
    warm_instance.run("vm", "resume", parent)
    assert warm_instance.sh(parent, "hostname") == "parent\n"
    warm_instance.run("vm", "delete", "child")


def test_a_daemon_killed_while_it_forks(warm_instance: Instance, parent: str) -> None:
    client = warm_instance.start("vm", "fork", parent, *CHILDREN)
    forks = warm_instance.paths.forks
    wait_until(lambda: bool([*forks.glob("*")]) or client.poll() is not None, 10, "it")
    warm_instance.signal_daemon(signal.SIGKILL)
    client.wait(10)
    if warm_instance.state(parent) == "paused":
        # It was killed in the few milliseconds in which the guest stands still.
        warm_instance.run("vm", "resume", parent)
    assert warm_instance.sh(parent, "hostname") == "parent\n"
    assert not {*CHILDREN} & warm_instance.names()
    wait_until(lambda: not [*forks.glob("*")], 5, "the removal of what was begun")
