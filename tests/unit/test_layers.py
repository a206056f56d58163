"""Layers: disks frozen under those that go on, and removed with their last user."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from banger.actors.layers import LAYERS_MAX, freeze_disks, layers_below, sweep_layers
from banger.actors.snapshot_store import fork_store, snapshot_store
from banger.host import qcow2
from banger.host.paths import Paths
from banger.kernel.errors import HostNotReady
from banger.kernel.store import RecordStore
from banger.model.fittings import Fittings
from banger.model.snapshot import SnapshotRecord
from banger.model.vm import VmRecord, VmSpec, VmState

SIZE = 64 << 20
SPEC = VmSpec(image="debian", vcpus=1, memory_mib=256, disk_bytes=SIZE)


class Host:
    def __init__(self, root: Path) -> None:
        self.paths = Paths(config=root, state=root, cache=root, runtime=root)
        self.vms = RecordStore(self.paths.vms, VmRecord)
        self.image = root / "root.ext4"
        self.image.write_bytes(b"")

    def vm(self, name: str, *layers: str) -> VmRecord:
        record = VmRecord(name[0] * 32, name, SPEC, "debian-1", VmState.STOPPED, 0, "", "", "qemu")
        record = msgspec.structs.replace(record, layers=[*layers])
        self.vms.save(name, record)
        return record

    def disk(self, name: str) -> Path:
        path = self.vms.directory(name) / "root.qcow2"
        qcow2.create_overlay(path, backing=str(self.image), virtual_size=SIZE)
        return path

    def layer(self, name: str) -> None:
        (self.paths.layers / name).mkdir(parents=True)

    def left(self) -> set[str]:
        return {path.name for path in self.paths.layers.iterdir()}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def snapshot(name: str, *layers: str) -> SnapshotRecord:
    fittings = Fittings(agent_ports=2, balloon=True)
    return SnapshotRecord(name, "a", 0, SPEC, "debian-1", "", {}, [*layers], fittings, 1.0)


def test_what_a_disk_lies_on(host: Host) -> None:
    host.vm("a")
    disk = host.disk("a")
    assert layers_below(host.paths, disk) == ()
    for number in range(3):
        directory = host.paths.layers / f"{number:016}"
        before = disk.stat().st_ino
        (switch,) = freeze_disks(directory, {"root": disk}).values()
        assert (switch.overlay, switch.frozen.stat().st_ino) == (disk, before)
        assert qcow2.read_header(disk).virtual_size == SIZE
    files = [host.paths.layers / f"{number:016}" / "root.qcow2" for number in range(3)]
    assert layers_below(host.paths, disk) == tuple(files)
    # One that was made anew lies on none of them.
    disk.unlink()
    assert layers_below(host.paths, host.disk("a")) == ()


def test_layers_in_a_circle(host: Host) -> None:
    host.vm("a")
    disk = host.disk("a")
    (switch,) = freeze_disks(host.paths.layers / "1", {"root": disk}).values()
    switch.frozen.unlink()
    qcow2.create_overlay(switch.frozen, backing=str(switch.frozen), virtual_size=SIZE)
    with pytest.raises(HostNotReady, match=f"more than {LAYERS_MAX} layers"):
        layers_below(host.paths, disk)


def test_layers_that_nobody_uses_are_swept(host: Host) -> None:
    for digit in "0123":
        host.layer(digit * 16)
    host.vm("a", "0" * 16)
    snapshot_store(host.vms.directory("a")).save("s", snapshot("s", "1" * 16))
    fork_store(host.paths).save("f", snapshot("f", "2" * 16))
    sweep_layers(host.paths, host.vms)
    assert host.left() == {"0" * 16, "1" * 16, "2" * 16}
    host.vms.delete("a")
    sweep_layers(host.paths, host.vms)
    assert host.left() == {"2" * 16}


def test_nothing_is_swept_while_a_record_can_not_be_read(host: Host) -> None:
    host.layer("0" * 16)
    host.vm("a")
    store = snapshot_store(host.vms.directory("a"))
    store.save("s", snapshot("s"))
    (store.directory("s") / "record.json").write_text("{")
    sweep_layers(host.paths, host.vms)
    assert host.left() == {"0" * 16}
