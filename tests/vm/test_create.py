"""Making VMs: names, views, and what a create leaves on the host."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.vm.instance import Instance

VIEW_FIELDS = {
    "name",
    "state",
    "image",
    "address",
    "mac",
    "pid",
    "vcpus",
    "memory_mib",
    "disk_bytes",
    "disk_allocated_bytes",
    "created_at",
    "id",
    "driver",
    "accelerator",
    "tap",
    "reason",
}


def test_a_created_vm_runs_and_is_shown(instance: Instance, box: str) -> None:
    view = instance.show(box)
    assert set(view) >= VIEW_FIELDS
    assert view["name"] == box
    assert view["state"] == "running"
    assert view["image"] == "debian"
    assert re.fullmatch(r"\d+\.\d+\.\d+\.\d+", view["address"])
    assert re.fullmatch(r"02(:[0-9a-f]{2}){5}", view["mac"])
    assert (view["vcpus"], view["memory_mib"]) == (1, 256)
    assert "qemu" in Path(f"/proc/{view['pid']}/cmdline").read_bytes().decode()
    assert view["tap"] in instance.links()
    made = datetime.fromisoformat(view["created_at"])
    assert 0 <= (datetime.now(UTC) - made).total_seconds() < 3600
    assert view in instance.json("vm", "list")


def test_what_is_shown_is_what_the_guest_has(instance: Instance, box: str) -> None:
    view = instance.show(box)
    assert instance.sh(box, "hostname").strip() == box
    assert instance.sh(box, "cat /etc/machine-id").strip() == view["id"]
    assert instance.sh(box, "cat /sys/class/net/eth0/address").strip() == view["mac"]
    assert f" {view['address']}/" in instance.sh(box, "ip -4 addr show dev eth0")
    assert instance.sh(box, "nproc").strip() == "1"
    memory_kib = int(instance.sh(box, "awk '/MemTotal/ {print $2}' /proc/meminfo"))
    assert 150 << 10 < memory_kib <= 256 << 10


def test_people_get_lines_and_stages(instance: Instance) -> None:
    done = instance.run("vm", "create", "--name", "lines", "--no-start")
    assert re.match(
        r"lines is stopped at [\d.]+, created in .*record .*address .*root-disk", done.stdout
    )
    shown = instance.run("vm", "show", "lines").stdout
    assert re.search(r"^name +lines$", shown, re.MULTILINE)
    assert re.search(r"^state +stopped$", shown, re.MULTILINE)
    listed = instance.run("vm", "list").stdout
    assert re.search(r"^lines +stopped +debian ", listed, re.MULTILINE)
    assert instance.run("vm", "delete", "lines").stdout == "lines deleted\n"


def test_a_name_is_made_up(instance: Instance) -> None:
    first = instance.json("vm", "create", "--no-start")["name"]
    second = instance.json("vm", "create", "--no-start")["name"]
    assert first != second
    for name in (first, second):
        assert re.fullmatch(r"[a-z]+-[a-z]+(-\d+)?", name)
        assert instance.state(name) == "stopped"
    instance.run("vm", "delete", first, second)
    assert not {first, second} & instance.names()


def test_created_without_a_start_then_started(instance: Instance) -> None:
    view = instance.create("later", "--no-start", "--vcpus", "2", "--memory", "192")
    assert (view["state"], view["pid"], view["tap"]) == ("stopped", None, None)
    assert view["disk_allocated_bytes"] <= 1 << 20
    assert len(instance.leased()) == _running_vms(instance)
    assert "it is stopped" in instance.error("vm", "exec", "later", "--", "true", code=4)

    instance.run("vm", "start", "later")
    started = instance.show("later")
    assert started["state"] == "running"
    assert (started["address"], started["mac"]) == (view["address"], view["mac"])
    assert instance.sh("later", "nproc").strip() == "2"
    instance.run("vm", "delete", "later")
    assert "later" not in instance.names()
    assert not Path(f"/proc/{started['pid']}").exists()


def _running_vms(instance: Instance) -> int:
    return sum(view["state"] == "running" for view in instance.json("vm", "list"))


def test_a_taken_name_is_refused_and_nothing_changes(instance: Instance, box: str) -> None:
    before = instance.show(box)
    message = instance.error("vm", "create", "--name", box, code=4)
    assert f"VM '{box}' exists already" in message
    assert instance.show(box) | {"disk_allocated_bytes": 0} == before | {"disk_allocated_bytes": 0}
    assert instance.sh(box, "echo alive") == "alive\n"


def test_of_two_creates_of_a_name_one_wins(instance: Instance) -> None:
    with ThreadPoolExecutor() as pool:
        both = list(
            pool.map(lambda _: instance.run("vm", "create", "--name", "race", code=None), range(2))
        )
    assert sorted(done.returncode for done in both) == [0, 4]
    assert instance.sh("race", "echo alive") == "alive\n"
    (winner,) = (done for done in both if done.returncode == 0)
    assert instance.show("race")["address"] in winner.stdout
    instance.run("vm", "delete", "race")


def test_of_twenty_creates_of_a_name_one_wins(instance: Instance) -> None:
    create = ("vm", "create", "--name", "crowd", "--no-start")
    with ThreadPoolExecutor(max_workers=20) as pool:
        codes = list(pool.map(lambda _: instance.run(*create, code=None).returncode, range(20)))
    assert sorted(codes) == [0] + [4] * 19
    assert instance.state("crowd") == "stopped"
    instance.run("vm", "delete", "crowd")
    assert "there is no VM 'crowd'" in instance.error("vm", "delete", "crowd", code=3)


def test_two_deletes_of_one_vm(instance: Instance) -> None:
    """The second one is told that the VM is gone or going, or waits for that too."""
    delete = ("vm", "delete", "twice")
    for _ in range(10):
        instance.create("twice", "--no-start")
        with ThreadPoolExecutor() as pool:
            both = list(pool.map(lambda _: instance.run(*delete, code=None), range(2)))
        codes = sorted(done.returncode for done in both)
        assert codes[0] == 0
        assert codes[1] in (0, 3, 4)
        assert "twice" not in instance.names()


@pytest.mark.parametrize("verb", ["show", "start", "stop", "restart", "delete", "logs", "wait"])
def test_no_such_vm(instance: Instance, verb: str) -> None:
    assert "there is no VM 'nobody'" in instance.run("vm", verb, "nobody", code=3).stderr


def test_illegal_verbs_name_the_state_and_the_legal_ones(instance: Instance, box: str) -> None:
    done = instance.run("vm", "start", box, code=4)
    assert f"can't start VM '{box}': it is running" in done.stderr
    assert (
        "legal now: delete, exec, pause, restart, restore, set, snapshot, stop, suspend"
        in done.stderr
    )
