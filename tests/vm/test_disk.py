"""The root disk: its size in the guest, what it takes on the host."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.vm.instance import Instance

MIB = 1 << 20


@pytest.fixture(scope="module")
def roomy(instance: Instance) -> Iterator[str]:
    instance.create("roomy", "--disk", "8G")
    yield "roomy"
    instance.run("vm", "delete", "roomy")


def test_the_guest_sees_the_size(instance: Instance, roomy: str) -> None:
    assert instance.show(roomy)["disk_bytes"] == 8 << 30
    assert instance.sh(roomy, "cat /sys/block/vda/size").strip() == str((8 << 30) // 512)
    size_mib = int(instance.sh(roomy, "df -BM --output=size / | tail -1").strip(" M\n"))
    assert 7500 < size_mib <= 8192


def test_the_image_size_is_the_default(instance: Instance, box: str) -> None:
    image = instance.json("image", "show", "debian")
    assert instance.show(box)["disk_bytes"] == image["disk_bytes"]


def test_only_what_is_written_is_taken(instance: Instance, roomy: str) -> None:
    before = instance.show(roomy)["disk_allocated_bytes"]
    instance.sh(roomy, "head -c 40M /dev/urandom >/var/tmp/big; sync")
    grown = instance.show(roomy)["disk_allocated_bytes"] - before
    assert 40 * MIB <= grown < 90 * MIB


def test_what_is_discarded_is_given_back(instance: Instance, roomy: str) -> None:
    instance.sh(roomy, "head -c 40M /dev/urandom >/var/tmp/rubbish; sync")
    before = instance.show(roomy)["disk_allocated_bytes"]
    instance.sh(roomy, "rm /var/tmp/rubbish; sync; fstrim /")
    assert before - instance.show(roomy)["disk_allocated_bytes"] > 20 * MIB


def test_a_vm_not_started_takes_next_to_nothing(instance: Instance) -> None:
    view = instance.create("bare", "--no-start", "--disk", "1T")
    assert view["disk_bytes"] == 1 << 40
    directory = instance.paths.vms / "bare"
    assert sum(path.stat().st_blocks * 512 for path in directory.rglob("*")) <= MIB
    instance.run("vm", "delete", "bare")


def test_two_vms_write_apart(instance: Instance, box: str, roomy: str) -> None:
    instance.sh(roomy, "echo mine >/var/tmp/whose; sync")
    instance.sh(box, "test -e /var/tmp/whose", code=1)
    image = instance.json("image", "show", "debian")
    assert image["allocated_bytes"] < 2 << 30


def test_a_stopped_vm_gets_another_shape(instance: Instance, roomy: str) -> None:
    error = instance.error("vm", "set", roomy, "--memory", "384", code=4)
    assert "its shape is that of its VMM" in error
    instance.run("vm", "stop", roomy)
    instance.run("vm", "set", roomy, "--vcpus", "2", "--memory", "384", "--disk", "12G")
    instance.run("vm", "start", roomy)
    ask = "nproc; free -m | awk '/Mem/ {print $2}'; df -BM --output=size / | tail -1"
    seen = instance.sh(roomy, ask)
    cpus, memory, disk = (int(word.rstrip("M")) for word in seen.split())
    assert cpus == 2
    assert 300 < memory < 384
    assert 11500 < disk <= 12288
