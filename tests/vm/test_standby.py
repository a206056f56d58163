"""VMs that stand ready: taken, told who they are, refilled, given back, and never left behind."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from banger.model.requests.seeds import AwaitStandby
from tests.vm.conftest import NewInstance, checked
from tests.vm.instance import Instance, is_alive, wait_until
from tests.vm.test_warm import stages


@pytest.fixture(scope="module")
def shared(warm_instance: Instance, images: Path) -> Iterator[Instance]:
    own = Instance(
        images,
        network=True,
        settings={"BANGER_VM_WARM_SEEDS": "auto", "BANGER_STANDBY_SIZE": "1"},
    )
    own.take_seeds_of(warm_instance)
    yield from checked(own, "the instance with standby VMs")


@pytest.fixture
def ready(shared: Instance) -> Instance:
    """With one VM standing ready, and no other."""
    if names := shared.names():
        shared.run("vm", "delete", *names)
    if not await_ready(shared):
        shared.run("vm", "run", "--", "true")
        await_ready(shared)
    return shared


def await_ready(instance: Instance) -> int:
    with instance.connect() as connection:
        return connection.call(AwaitStandby())


def records(instance: Instance) -> list[dict[str, Any]]:
    """Of those in the pool that are of the usual kind."""
    paths = instance.paths.standby.glob("standby-*/record.json")
    found = [json.loads(path.read_text())["record"] for path in paths]
    return [
        record
        for record in found
        if record["spec"]["memory_mib"] == 256 and record["options"]["work"]["size"] == "8G"
    ]


def only(instance: Instance) -> dict[str, Any]:
    [record] = records(instance)
    return record


def test_a_creation_takes_the_one_that_is_ready(ready: Instance) -> None:
    before = only(ready)
    assert ready.json("vm", "list") == []
    view = ready.create("a")
    assert stages(ready, "a")["seed"].startswith("standby: ")
    assert (view["id"], view["address"]) == (before["id"], before["address"])
    assert view["pid"] == before["process"]["pid"]
    assert ready.sh("a", "hostname; cat /etc/machine-id").split() == ["a", view["id"]]
    assert f"{view['address']} a a.vm" in ready.sh("a", "cat /etc/hosts")
    assert abs(int(ready.sh("a", "date +%s")) - time.time()) < 2
    # Another one is made meanwhile.
    assert await_ready(ready) == 1
    assert only(ready)["id"] != before["id"]


def test_it_is_a_vm_like_any_other(ready: Instance) -> None:
    ready.create("a")
    assert ready.run("vm", "ssh", "a", "--", "hostname").stdout == "a\n"
    before = ready.sh("a", "cat /proc/sys/kernel/random/boot_id")
    ready.sh("a", "echo kept > /root/kept; sync; reboot", code=None)
    wait_until(lambda: reboots(ready, "a") == 1, 60, "the reboot")
    # It was launched as nobody: what it is told at its own reboot is who it is now.
    assert ready.sh("a", "hostname; cat /root/kept").split() == ["a", "kept"]
    assert ready.sh("a", "cat /proc/sys/kernel/random/boot_id") != before
    ready.run("vm", "stop", "a")
    ready.run("vm", "start", "a")
    assert ready.sh("a", "hostname; cat /root/kept").split() == ["a", "kept"]


def reboots(instance: Instance, name: str) -> int:
    lines = instance.paths.event_log.read_text().splitlines()
    events = [json.loads(line) for line in lines]
    return sum(e["type"] == "guest-rebooted" and e["vm"] == name for e in events)


def test_no_two_are_alike(ready: Instance) -> None:
    script = "cat /etc/machine-id /proc/sys/kernel/random/boot_id /proc/sys/kernel/random/uuid; "
    script += "cut -d' ' -f2 /etc/ssh/ssh_host_ed25519_key.pub; cat /sys/class/net/eth0/address"
    facts = []
    for name in ("a", "b", "c"):
        await_ready(ready)
        ready.create(name)
        assert stages(ready, name)["seed"].startswith("standby: ")
        facts.append(ready.sh(name, script).split())
    for values in zip(*facts, strict=True):
        assert len(set(values)) == 3, values


def test_many_at_once_share_none(ready: Instance) -> None:
    names = [f"vm-{number}" for number in range(4)]
    with ThreadPoolExecutor(len(names)) as pool:
        views = list(pool.map(ready.create, names))
    assert len({view["id"] for view in views}) == len(names)
    ways = [stages(ready, name)["seed"].split(":")[0] for name in names]
    assert sorted(ways) == ["standby", "warm", "warm", "warm"]
    assert [ready.sh(name, "hostname").strip() for name in names] == names


@pytest.mark.parametrize(
    ("options", "begins"),
    [
        (["--isolated"], "standby"),
        (["--publish", "18080:80"], "standby"),
        (["--memory", "320"], "cold"),
        (["--work-size", "9G"], "warm"),
    ],
)
def test_what_it_can_and_can_not_become(ready: Instance, options: list[str], begins: str) -> None:
    ready.create("a", *options)
    assert stages(ready, "a")["seed"].startswith(f"{begins}: ")
    assert ready.sh("a", "hostname") == "a\n"
    if "--publish" in options:
        assert "18080" in ready.run("vm", "port", "list", "a").stdout


def test_a_create_that_fails_leaves_nothing_of_it(ready: Instance) -> None:
    taken = only(ready)["id"]
    ready.run("vm", "create", "--name", "a", "--inject-fault", "configure", code=None)
    assert ready.names() == set()
    await_ready(ready)
    assert only(ready)["id"] != taken
    assert f"tap-{taken[:8]}" not in ready.leased()
    ready.create("a")


def test_one_that_dies_is_made_anew(ready: Instance) -> None:
    dead = only(ready)
    os.kill(dead["process"]["pid"], signal.SIGKILL)
    wait_until(lambda: [r["id"] for r in records(ready)] != [dead["id"]], 30, "its end")
    # Not at once: such as die all the time must not keep the host busy.
    wait_until(lambda: bool(records(ready)), 40, "another one")
    await_ready(ready)
    ready.create("a")
    assert stages(ready, "a")["seed"].startswith("standby: ")


def test_one_that_does_not_answer_is_left(ready: Instance) -> None:
    """Its VMM stands still: the creation boots instead."""
    pid = only(ready)["process"]["pid"]
    os.kill(pid, signal.SIGSTOP)
    ready.run("vm", "create", "--name", "a", timeout=110)
    assert ready.sh("a", "hostname") == "a\n"
    assert not is_alive(pid)


def test_a_killed_daemon_leaves_none(ready: Instance) -> None:
    left = only(ready)
    ready.signal_daemon(signal.SIGKILL)
    assert is_alive(left["process"]["pid"])
    ready.run("daemon", "start")
    wait_until(lambda: not is_alive(left["process"]["pid"]), 10, "the end of the one that was left")
    wait_until(lambda: not ready.leased() and not records(ready), 10, "all to be given back")
    ready.create("a")
    assert ready.sh("a", "hostname") == "a\n"


def test_a_stopping_daemon_ends_them(ready: Instance) -> None:
    left = only(ready)
    assert ready.signal_daemon(signal.SIGTERM) < 3
    assert not is_alive(left["process"]["pid"])
    assert not list(ready.paths.standby.iterdir())
    assert not ready.leased()


@pytest.mark.parametrize("stage", ["standby", "record", "prepare", "vmm", "configure", "started"])
def test_a_daemon_killed_while_one_is_taken(ready: Instance, stage: str) -> None:
    pid = only(ready)["process"]["pid"]
    ready.start("vm", "create", "--name", "a", "--inject-fault", f"{stage}:hang")
    wait_until(lambda: stage in begun(ready, "a"), 20, f"stage {stage}")
    time.sleep(0.2)
    ready.signal_daemon(signal.SIGKILL)
    ready.end_clients()
    ready.run("daemon", "start")
    assert ready.names() == set()
    wait_until(lambda: not is_alive(pid), 10, "its end")
    wait_until(lambda: not ready.leased() and not records(ready), 10, "all to be given back")
    ready.create("a")


def begun(instance: Instance, name: str) -> set[str]:
    lines = instance.paths.event_log.read_text().splitlines()
    events = [json.loads(line) for line in lines]
    return {e["stage"] for e in events if e["type"] == "stage-started" and e["vm"] == name}


def test_a_rotated_key_lets_nobody_in_with_the_old_one(ready: Instance) -> None:
    taken = only(ready)["id"]
    ready.run("key", "rotate")
    view = ready.create("a")
    assert view["id"] == taken
    key = ready.json("key", "show")["public_key"].split()[1]
    assert re.findall(r"AAAA\S+", ready.sh("a", "cat /root/.ssh/authorized_keys")) == [key]


def test_doctor_counts_and_knows_them(ready: Instance) -> None:
    done = ready.run("doctor", "--leaks", code=None)
    assert re.search(r"memory .* [1-9] standby VMs with [0-9.]+ MiB", done.stdout)
    assert "belongs to no VM" not in done.stdout


def test_a_host_that_is_short_of_memory_has_it_back(
    warm_instance: Instance, new_instance: NewInstance
) -> None:
    own = new_instance(
        BANGER_VM_WARM_SEEDS="auto",
        BANGER_STANDBY_SIZE="1",
        BANGER_STANDBY_RESERVE_MIB=str(1 << 30),
    )
    own.take_seeds_of(warm_instance)
    own.run("vm", "run", "--", "true")
    wait_until(lambda: "standby-given-back" in own.paths.event_log.read_text(), 40, "the event")
    wait_until(lambda: not own.leased() and not records(own), 10, "all to be given back")
    assert "standby VMs given back" in own.run("events").stdout


def test_of_a_seed_that_is_stale_none_is_taken(ready: Instance) -> None:
    """As after an image was built anew; so this comes last."""
    files = next(ready.paths.images.glob("debian-*"))
    modules = files / "modules.cpio"
    content = modules.read_bytes()
    modules.unlink()
    modules.write_bytes(content)
    pid = only(ready)["process"]["pid"]
    ready.create("a")
    assert stages(ready, "a")["seed"].startswith("cold: ")
    assert not is_alive(pid)
    assert ready.sh("a", "hostname") == "a\n"
