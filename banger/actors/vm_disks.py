"""The disks of one VM: what is made of them, and what each lies on. What makes them blocks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from banger.actors.layers import lay_overlay, layers_below
from banger.host import qcow2
from banger.host.image_files import ImageFiles
from banger.host.paths import Paths
from banger.host.seed_files import SeedFiles
from banger.model.machine import DiskFormat, Drive
from banger.model.vm import VmRecord
from banger.vmm.base import MachinePlan

ROOT_SERIAL = "root"
WORK_SERIAL = "work"


def root_disk(directory: Path) -> Path:
    """In a VM's directory."""
    return directory / "root.qcow2"


class VmDisks:
    """Of the VM with this record, in its directory."""

    def __init__(self, paths: Paths, directory: Path, image: ImageFiles, record: VmRecord) -> None:
        self._paths = paths
        self._directory = directory
        self._image = image
        self._record = record

    @property
    def seed_layers(self) -> tuple[Path, ...]:
        """What lies between the root disk and the image's, of the VM's seed."""
        seed = self._seed
        return () if seed is None else (seed.root,)

    @property
    def _seed(self) -> SeedFiles | None:
        record = self._record
        return SeedFiles.of(self._paths.seeds / record.seed) if record.seed else None

    def make_root(self) -> int:
        """Make the root disk anew; the bytes it takes."""
        path, layers = root_disk(self._directory), self.seed_layers
        path.unlink(missing_ok=True)
        below, kind = (layers[-1], "qcow2") if layers else (self._image.root, "raw")
        size = self._record.spec.disk_bytes
        qcow2.create_overlay(path, backing=str(below), backing_format=kind, virtual_size=size)
        return path.stat().st_blocks * 512

    def make_work(self, drives: Sequence[Drive]) -> None:
        """Make the work disk anew: over the seed's, which the guest has mounted, or the image's.

        Other drives stay as they are: they are their capabilities'.
        """
        seed = self._seed if self._record.seed_work else None
        for drive in work_drives(drives):
            size = qcow2.read_header(drive.path).virtual_size
            below, kind = (drive.base, "raw") if seed is None else (seed.work, "qcow2")
            drive.path.unlink()
            qcow2.create_overlay(
                drive.path, backing=str(below), backing_format=kind, virtual_size=size
            )

    def lay_on_layers(self) -> int:
        """Make all disks, each on the topmost layer that has it; how many."""
        tops: dict[str, Path] = {}
        for layer in self._record.layers:
            tops |= {file.name: file for file in (self._paths.layers / layer).glob("*.qcow2")}
        for name, frozen in tops.items():
            lay_overlay(self._directory / name, frozen)
        return len(tops)

    def drives(self, others: Sequence[Drive]) -> tuple[Drive, ...]:
        """All of them, the root disk first. ``others`` are those that capabilities contribute."""
        path = root_disk(self._directory)
        root = Drive(
            ROOT_SERIAL,
            path,
            DiskFormat.OVERLAY,
            base=self._image.root,
            layers=(*self.seed_layers, *self._frozen(path)),
        )
        return (root, *map(self._placed, others))

    def _placed(self, drive: Drive) -> Drive:
        if drive.format is DiskFormat.OVERLAY:
            drive = msgspec.structs.replace(drive, layers=self._frozen(drive.path))
        seed = self._seed
        if drive.serial != WORK_SERIAL or seed is None or not self._record.seed_work:
            return drive
        return msgspec.structs.replace(
            drive, base=seed.work_base, layers=(seed.work, *drive.layers)
        )

    def _frozen(self, disk: Path) -> tuple[Path, ...]:
        """What lies between this disk and its base, or the seed's disk."""
        return layers_below(self._paths, disk) if self._record.layers else ()


def work_drives(drives: Sequence[Drive]) -> list[Drive]:
    """The work disk, when there is one."""
    return [drive for drive in drives if drive.serial == WORK_SERIAL]


def new_sizes(plan: MachinePlan) -> dict[str, int]:
    """In bytes by their serials, of the disks that are not as large as what they lie on. Blocks.

    To tell a guest the size that it knows keeps it busy for a while: each time its udev looks at
    the disk.
    """
    sizes = {}
    for drive in plan.drives:
        if drive.format is DiskFormat.OVERLAY:
            size = qcow2.read_header(drive.path).virtual_size
            if not drive.layers or qcow2.read_header(drive.layers[-1]).virtual_size != size:
                sizes[drive.serial] = size
    return sizes
