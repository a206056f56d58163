"""The disks of a VM are made anew without a loss of any that are not banger's own."""

from __future__ import annotations

from pathlib import Path

from banger.actors.beginning import work_bytes
from banger.actors.vm_disks import VmDisks
from banger.capabilities.guest import GuestBuilder
from banger.host import qcow2
from banger.host.image_files import ImageFiles
from banger.host.paths import Paths
from banger.model.machine import DiskFormat, Drive
from banger.model.vm import VmRecord, VmSpec, VmState

SIZE = 64 << 20


def test_a_work_disk_made_anew_leaves_other_drives_alone(tmp_path: Path) -> None:
    base, work, data = (tmp_path / name for name in ("base", "work.qcow2", "data.raw"))
    base.write_bytes(bytes(4096))
    data.write_bytes(b"somebody's")
    qcow2.create_overlay(work, backing=str(tmp_path / "former"), virtual_size=SIZE)
    drives = [
        Drive("work", work, DiskFormat.OVERLAY, base=base),
        Drive("data", data, DiskFormat.RAW),
    ]
    disks = VmDisks(
        Paths(tmp_path, tmp_path, tmp_path, tmp_path), tmp_path, ImageFiles.of(tmp_path), record()
    )
    disks.make_work(drives)
    assert data.read_bytes() == b"somebody's"
    assert qcow2.read_header(work).backing == str(base)
    pen = GuestBuilder()
    for drive in drives:
        pen.by("x").drive(drive)
    assert work_bytes(pen.build()) == SIZE


def record() -> VmRecord:
    return VmRecord(
        id="a" * 32,
        name="x",
        spec=VmSpec("debian", 1, 256, SIZE),
        image_id="debian-1",
        state=VmState.CREATING,
        created_at=0.0,
        address="",
        mac="",
        driver="fake",
    )
