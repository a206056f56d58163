"""The work disk: ``/root`` as a second disk that begins as a copy of the image's."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import trio

from banger.capabilities.capability import API_VERSION, Capability
from banger.capabilities.command import CommandCall, command
from banger.capabilities.guest import GuestContribution
from banger.capabilities.host import Host, Step, Vm
from banger.capabilities.options import Options, option
from banger.host import qcow2, work_seed
from banger.kernel.errors import IllegalState, NotFound, UsageError
from banger.model.command import Argument, Completion, Syntax
from banger.model.machine import DiskFormat, Drive
from banger.model.settings import Setting
from banger.model.sizes import parse_size
from banger.model.vm import DISK_BYTES_MAX, DISK_BYTES_MIN, VmState

SERIAL = "work"
PLACE = "/root"


class WorkOptions(Options, frozen=True):
    enabled: Annotated[
        bool, option("Have /root on a disk of its own, the work disk.", "--work-disk")
    ] = False
    size: Annotated[
        str, option("Size of the work disk, like 8G. It can only grow.", "--work-size")
    ] = "8G"

    def __post_init__(self) -> None:
        try:
            size = parse_size(self.size)
        except UsageError as error:
            raise ValueError(error.message) from None
        if not DISK_BYTES_MIN <= size <= DISK_BYTES_MAX:
            raise ValueError("a work disk has between 64M and 16T")

    @property
    def size_bytes(self) -> int:
        return -(-parse_size(self.size) // 4096) * 4096


class WorkDisk(Capability[WorkOptions]):
    """VMs that were made before there were work disks have none: their /root stays where it is."""

    api_version = API_VERSION
    name = "work"
    summary = "The guest's /root on a disk of its own, begun as a copy of the image's."
    nameless = True
    options = WorkOptions
    settings = (
        Setting("enabled", True, "Whether a new VM has its /root on a work disk."),
        Setting("size", "8G", "Size of a new VM's work disk; it takes what is written to it."),
    )

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._making = trio.Lock()
        """Held while a disk is made, or the seed that all VMs of an image share."""

    def defaults(self) -> WorkOptions:
        try:
            return WorkOptions(self.host.settings.flag("enabled"), self.host.settings.text("size"))
        except ValueError as error:
            raise UsageError(f"setting capabilities.work.size: {error}") from None

    async def admit(self, vm: Vm, options: WorkOptions) -> None:
        if vm.state is VmState.CREATING and options.size != self.defaults().size:
            _check_size_has_a_disk(options)

    async def prepare(self, vm: Vm, options: WorkOptions, step: Step) -> None:
        if not options.enabled:
            return
        async with self._making:
            await self._make_or_grow(vm, options, step)

    async def _make_or_grow(self, vm: Vm, options: WorkOptions, step: Step) -> None:
        disk = work_disk(vm.directory)
        if disk.exists():
            await trio.to_thread.run_sync(qcow2.grow, disk, options.size_bytes)
            return
        seed = await self._seed(vm.image_directory, step)

        def make() -> str:
            begun = time.perf_counter()
            size = max(options.size_bytes, seed.stat().st_size)
            qcow2.create_overlay(disk, backing=str(seed), virtual_size=size)
            took_ms = (time.perf_counter() - begun) * 1000
            return f"{disk.stat().st_blocks >> 1} KiB allocated in {took_ms:.1f} ms"

        # It goes with the VM's directory; a start that fails leaves it for the next one.
        step.progress(f"overlay of the image's work seed: {await trio.to_thread.run_sync(make)}")

    async def _seed(self, image: Path, step: Step) -> Path:
        seed = work_seed.find_seed(image)
        if seed is None:
            step.progress("the image has no work seed; making it, once")
            seed = await trio.to_thread.run_sync(work_seed.make_seed, image / "root.ext4", image)
        return seed

    @command(
        Syntax(
            ("vm", "reset-work"),
            "Make the work disk of a stopped VM anew: its /root is the image's again.",
            arguments=(Argument("name", "The VM.", completion=Completion.VM),),
            details="For a guest whose /root can't be mounted any more. The disk it had is kept "
            "beside the new one, until the next time or until the VM is deleted.",
            examples=("banger vm reset-work testbox",),
        )
    )
    async def reset_work(self, call: CommandCall) -> int:
        name = call.parameters["name"]
        # A start that comes meanwhile waits, and finds no disk.
        async with self._making:
            vm = await self._at_rest(name)
            disk, former = work_disk(vm.directory), former_work_disk(vm.directory)
            if disk.exists():
                await trio.to_thread.run_sync(disk.replace, former)
        call.document = {"vm": name, "former": str(former) if former.exists() else None}
        await call.line(f"{name} gets a new work disk when it starts")
        if former.exists():
            await call.line(f"the former one is {former}")
        return 0

    async def _at_rest(self, name: str) -> Vm:
        for vm, options in await self.host.vms():
            if vm.name != name:
                continue
            if not options.enabled:
                raise UsageError(f"VM {name!r} has no work disk: its /root is on the root disk")
            if vm.state not in (VmState.STOPPED, VmState.CRASHED):
                raise IllegalState(
                    f"can't reset the work disk of VM {name!r}: it is {vm.state}",
                    hint=f"'banger vm stop {name}' first",
                )
            return vm
        raise NotFound(f"there is no VM {name!r}", hint="'banger vm list' shows all")

    def contribute(self, vm: Vm, options: WorkOptions, guest: GuestContribution) -> None:
        if options.enabled:
            disk = Drive(
                SERIAL,
                work_disk(vm.directory),
                DiskFormat.OVERLAY,
                base=vm.image_directory / work_seed.NAME,
            )
            guest.drive(disk)
            guest.mount(SERIAL, PLACE, grow=True)
            guest.unnest(PLACE)

    async def changed(self, vm: Vm, before: WorkOptions, options: WorkOptions, step: Step) -> None:
        """A disk grows at the next start."""
        disk = work_disk(vm.directory)
        if before.enabled != options.enabled:
            raise UsageError(
                f"VM {vm.name!r} was made with{'' if before.enabled else 'out'} a work disk",
                hint="its /root would seem to be empty: make a new VM, and copy what you need",
            )
        if options.size != before.size:
            _check_size_has_a_disk(options)
        if options.size_bytes < before.size_bytes and disk.exists():
            raise UsageError(
                f"--work-size {options.size} is less than the {before.size} the disk has",
                hint="a disk can grow, never shrink",
            )


def _check_size_has_a_disk(options: WorkOptions) -> None:
    if not options.enabled:
        raise UsageError(
            f"--work-size {options.size} is the size of a work disk, and this VM has none",
            hint="leave --work-size out; --disk is the size of the root disk",
        )


def work_disk(directory: Path) -> Path:
    """In a VM's directory."""
    return directory / "work.qcow2"


def former_work_disk(directory: Path) -> Path:
    """What a reset has put aside."""
    return directory / "work.former.qcow2"
