"""From a record to a running guest, in named stages, each with its undo."""

from __future__ import annotations

import logging
import os
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import trio

from banger.actors.blocking import run_blocking
from banger.actors.guest_start import AGENT_DEADLINE_S, GuestStart
from banger.actors.layers import lay_overlay, layers_below
from banger.actors.origin import Origin
from banger.actors.seeds import DropSeed, FindSeed, Seed, WantSeed
from banger.actors.services import Services
from banger.actors.tap_pool import (
    AcquireAddress,
    AcquireTap,
    ReleaseAddress,
    ReleaseTap,
    TapLease,
)
from banger.actors.vmm_watch import VmmWatch
from banger.capabilities.guest import GuestBuilder
from banger.capabilities.hooks import Hooks, Undo, undo_all
from banger.capabilities.host import Vm
from banger.host import qcow2
from banger.host.image_files import ImageFiles, usable_files
from banger.host.initramfs import write_initramfs
from banger.host.seed_files import SeedFiles
from banger.kernel.errors import BangerError, GuestError, HostNotReady
from banger.kernel.stages import Stage
from banger.model.guest import GuestConfig
from banger.model.machine import Card, DiskFormat, Drive
from banger.model.seed import TEMPLATE_MAC, SeedOrder
from banger.model.vm import VmRecord
from banger.vmm.base import Machine, MachinePlan, Ram

log = logging.getLogger(__name__)

ROOT_SERIAL = "root"
WORK_SERIAL = "work"
ENTROPY_BYTES = 64


class BringUp:
    """One creation or start. Its outcome are the attributes that have no underscore."""

    def __init__(
        self,
        services: Services,
        record: VmRecord,
        *,
        hooks: Hooks,
        seen: Callable[[VmRecord, TapLease | None], Vm],
        attend: Callable[[Machine], Awaitable[None]],
        vmm: VmmWatch,
        origin: Origin | None = None,
    ) -> None:
        """``origin``: what the guest begins in, on the layers in the record.

        ``seen`` makes the VM as hooks see it; ``attend`` puts a launched machine under the
        watch of ``vmm``."""
        self.record = record
        self._services = services
        self.guest = GuestStart(services.driver, self.runtime, vmm=vmm, attend=attend)
        self._hooks = hooks
        self._seen = seen
        self._undo: list[Undo] = []
        self._plan = GuestBuilder().build()
        self._origin = origin
        self._seed: Seed | None = None
        """What the guest begins in; None: it is booted."""
        self._cold = False
        self._wanted: SeedOrder | None = None
        """What it could have begun in, had there been one."""
        self.lease: TapLease | None = None
        self.notes: tuple[str, ...] = ()
        self._image = ImageFiles.of(services.paths.images / record.image_id)

    def create_stages(self, *, start: bool, cold: bool = False) -> list[Stage[None]]:
        """``cold``: the guest is booted, also where there is a seed."""
        self._cold = cold
        stages: list[Stage[None]] = [
            self._stage("admit", self._admit),
            self._stage("record", self._write_intent, self._remove_record),
            self._stage("address", self._take_address, self._return_address),
        ]
        if self._origin is not None:
            disks = self._stage("root-disk", self._lay_on_layers)
            return [*stages, disks, *self._host_stages(), *self._guest_stages()]
        disk = self._stage("root-disk", self._make_root_disk)
        if not start:
            return [*stages, disk]
        seed = self._stage("seed", self._find_seed)
        return [*stages, *self._host_stages(), seed, disk, *self._guest_stages()]

    def start_stages(self) -> list[Stage[None]]:
        """Its disk is no seed's any more, so the guest is booted, or goes on."""
        admit = self._stage("admit", self._admit)
        return [admit, *self._host_stages(), *self._guest_stages()]

    def restore_stages(self, layers: list[str]) -> list[Stage[None]]:
        """Its disks are made anew, on these layers."""

        async def lay() -> str:
            self.record = msgspec.structs.replace(self.record, layers=layers)
            note = await self._lay_on_layers()
            await self.save()
            return note

        admit = self._stage("admit", self._admit)
        disks = self._stage("root-disk", lay)
        return [admit, disks, *self._host_stages(), *self._guest_stages()]

    def _host_stages(self) -> list[Stage[None]]:
        return [
            self._stage("tap", self._take_tap, self._return_tap),
            self._stage("prepare", self._prepare, self._undo_hooks),
            self._stage("guest-config", self._write_guest_config, self._remove_guest_config),
        ]

    def _guest_stages(self) -> list[Stage[None]]:
        return [
            self._stage("vmm", self._launch, self.guest.end),
            self._stage("agent", self._await_agent),
            self._stage("configure", self._configure),
            self._stage("started", self._tell_started),
        ]

    @staticmethod
    def _stage(
        name: str,
        do: Callable[[], Awaitable[str]],
        undo: Callable[[], Awaitable[None]] | None = None,
    ) -> Stage[None]:
        return Stage(name, lambda _: do(), None if undo is None else lambda _: undo())

    @property
    def directory(self) -> Path:
        return self._services.store.directory(self.record.name)

    @property
    def runtime(self) -> Path:
        return self._services.paths.vm_runtime / self.record.short_id

    async def save(self, **changes: object) -> None:
        self.record = msgspec.structs.replace(self.record, **changes)
        await run_blocking(self._services.store.save, self.record.name, self.record)

    @property
    def _vm(self) -> Vm:
        return self._seen(self.record, self.lease)

    async def _admit(self) -> str:
        self._image = await self._usable_image()
        for layer in self._layers:
            if not layer.exists():
                raise HostNotReady(
                    f"the warm seed {self.record.seed} under the disk of VM "
                    f"{self.record.name!r} is gone",
                    hint=f"put {layer.parent} back, or delete the VM",
                )
        await self._hooks.admit(self._vm, self.record.options)
        return ""

    async def _usable_image(self) -> ImageFiles:
        return await run_blocking(usable_files, self._services.paths.images, self.record.image_id)

    # --- what a VM has all its life ---

    async def _write_intent(self) -> str:
        await self.save()
        return ""

    async def _remove_record(self) -> None:
        await run_blocking(self._services.store.delete, self.record.name)

    async def _take_address(self) -> str:
        lease = await self._services.taps.ask(AcquireAddress(self.record.id))
        # Saved at once: a pool that is built anew knows who has which address from the records.
        await self.save(address=lease.address, mac=lease.mac)
        return lease.address

    async def _return_address(self) -> None:
        await self._services.taps.ask(ReleaseAddress(self.record.id))

    async def _make_root_disk(self) -> str:
        path = root_disk(self.directory)
        # Once more: from the record on the image can't be deleted, but until then it could.
        self._image = await self._usable_image()

        def make() -> int:
            size, layers = self.record.spec.disk_bytes, self._layers
            below, kind = (layers[-1], "qcow2") if layers else (self._image.root, "raw")
            qcow2.create_overlay(path, backing=str(below), backing_format=kind, virtual_size=size)
            return path.stat().st_blocks * 512

        allocated = await run_blocking(make)
        return f"overlay, {allocated >> 10} KiB allocated"

    async def _lay_on_layers(self) -> str:
        """Make all disks of the VM, each on the topmost layer that has it."""
        self._image = await self._usable_image()

        def lay() -> int:
            tops: dict[str, Path] = {}
            for layer in self.record.layers:
                files = (self._services.paths.layers / layer).glob("*.qcow2")
                tops |= {file.name: file for file in files}
            for name, frozen in tops.items():
                lay_overlay(self.directory / name, frozen)
            return len(tops)

        return f"{await run_blocking(lay)} overlays on {len(self.record.layers)} layers"

    def _drives(self) -> tuple[Drive, ...]:
        """All of them, the root disk first."""
        root = Drive(
            ROOT_SERIAL,
            root_disk(self.directory),
            DiskFormat.OVERLAY,
            base=self._image.root,
            layers=(*self._layers, *self._frozen(root_disk(self.directory))),
        )
        others = [
            msgspec.structs.replace(drive, layers=self._frozen(drive.path))
            if drive.format is DiskFormat.OVERLAY
            else drive
            for drive in self._plan.drives
        ]
        if not self.record.seed_work:
            return (root, *others)
        files = SeedFiles.of(self._services.paths.seeds / self.record.seed)
        others = [
            msgspec.structs.replace(drive, base=files.work_base, layers=(files.work, *drive.layers))
            if drive.serial == WORK_SERIAL
            else drive
            for drive in others
        ]
        return (root, *others)

    def _frozen(self, disk: Path) -> tuple[Path, ...]:
        """What lies between this disk and its base, or the seed's disk."""
        return layers_below(self._services.paths, disk) if self.record.layers else ()

    @property
    def _layers(self) -> tuple[Path, ...]:
        """What lies between the root disk and the image's."""
        if not self.record.seed:
            return ()
        return (SeedFiles.of(self._services.paths.seeds / self.record.seed).root,)

    # --- what it has while it runs ---

    async def _take_tap(self) -> str:
        request = AcquireTap(self.record.id, self.record.address)
        self.lease = await self._services.taps.ask(request)
        return self.lease.tap

    async def _return_tap(self) -> None:
        await self._services.taps.ask(ReleaseTap(self.record.id))

    async def _prepare(self) -> str:
        await self._hooks.prepare(self._vm, self.record.options, self._undo)
        return ""

    async def _undo_hooks(self) -> None:
        await undo_all(self._undo)

    async def _tell_started(self) -> str:
        await self._hooks.started(self._vm, self.record.options, self._undo)
        if self._wanted is not None:
            await self._services.seeds.ask(WantSeed(self._wanted))
        return ""

    async def _write_guest_config(self) -> str:
        self._plan = self._hooks.contribute(self._vm, self.record.options)
        path, modules = initramfs(self.directory), self._image.modules
        # A guest that begins in a seed is told by its agent, but it may reboot.
        size = await run_blocking(write_initramfs, path, modules, self._plan.config)
        return f"initramfs of {size >> 10} KiB"

    async def _remove_guest_config(self) -> None:
        await run_blocking(lambda: initramfs(self.directory).unlink(missing_ok=True))

    # --- the warm seed ---

    async def _find_seed(self) -> str:
        """Say whether the guest is booted or begins in a seed, and why."""
        reason = self._why_cold()
        if not reason:
            plan, spec = self._plan, self.record.spec
            order = SeedOrder(
                image_id=self.record.image_id,
                vcpus=spec.vcpus,
                memory_mib=spec.memory_mib,
                kernel_arguments=plan.kernel_arguments,
                drives=tuple(drive.serial for drive in plan.drives),
            )
            found = await self._services.seeds.ask(FindSeed(order))
            self._seed, reason = found.seed, found.reason
            self._wanted = order if found.seed is None else None
            if self._seed is not None and await run_blocking(self._has_less, self._seed):
                self._seed, reason = None, "its work disk is smaller than the seed's"
        if self._seed is None:
            return f"cold: {reason}"
        # Saved before the VMM starts: from then on the seed's disk can't be removed.
        self.record = msgspec.structs.replace(self.record, seed=self._seed.id)
        await run_blocking(self._lay_work_disk, self._seed)
        return f"warm: {self._seed.id}"

    def _why_cold(self) -> str:
        """What of this VM has to be there while the guest boots; "" when nothing has."""
        plan = self._plan
        if self._cold:
            return "as was asked"
        if plan.early_files:
            return f"files of {', '.join(plan.early_files)} are read while the guest boots"
        if plan.cards:
            return f"it has {1 + len(plan.cards)} network cards"
        others = [drive.serial for drive in plan.drives if drive.serial != WORK_SERIAL]
        return f"it has a disk {others[0]!r}" if others else ""

    async def _fall_back(self, problem: Exception, *, drop: bool) -> str:
        """The seed was of no use: end what began in it, and boot the guest."""
        assert self._seed is not None
        seed, self._seed = self._seed, None
        reason = str(problem) or "the guest did not answer"
        log.warning("VM %s is booted, not begun in %s: %s", self.record.name, seed.id, reason)
        await self.guest.end()
        self.record = msgspec.structs.replace(self.record, seed="")
        await run_blocking(self._lay_work_disk, None)
        await run_blocking(root_disk(self.directory).unlink)
        await self._make_root_disk()
        # With no record that names it, the seed is removed with its disks.
        await self.save(process=None)
        if drop:
            await self._services.seeds.ask(DropSeed(seed.id, reason))
        await self._launch_guest()
        return f"booted after all, the seed failed: {reason}"

    def _has_less(self, seed: Seed) -> bool:
        """The guest in the seed knows a disk of a size, which can grow and not shrink."""
        sizes = (qcow2.read_header(drive.path).virtual_size for drive in self._plan.drives)
        return any(size < seed.work_bytes for size in sizes)

    def _lay_work_disk(self, seed: Seed | None) -> None:
        """Make it anew: over the seed's, which the guest has mounted, or over the image's."""
        for drive in self._plan.drives:
            size = qcow2.read_header(drive.path).virtual_size
            below, kind = (drive.base, "raw") if seed is None else (seed.files.work, "qcow2")
            drive.path.unlink()
            qcow2.create_overlay(
                drive.path, backing=str(below), backing_format=kind, virtual_size=size
            )
            self.record = msgspec.structs.replace(self.record, seed_work=seed is not None)

    # --- the VMM and its guest ---

    async def _launch(self) -> str:
        try:
            return await self._launch_guest()
        except BangerError as error:
            if self._seed is None:
                raise
            return await self._fall_back(error, drop=True)

    async def _launch_guest(self) -> str:
        # Recorded before and after: a daemon killed in between finds the VMM by its id.
        await self.save(process=None)
        plan = self._machine_plan()
        machine = await self.guest.launch(plan)
        await self.save(process=machine.identity)
        await self.guest.attend(untouched=self._seed is not None)
        if plan.state is not None:
            # Written first: what goes on can't begin there once more, its disks will differ.
            await self.save(suspended=None)
            await self.guest.resume(await run_blocking(_sizes, plan))
        return f"{machine.accelerator}, pid {machine.identity.pid}"

    def _machine_plan(self) -> MachinePlan:
        assert self.lease is not None
        spec = self.record.spec
        return MachinePlan(
            id=self.record.id,
            name=self.record.name,
            vcpus=spec.vcpus,
            memory_mib=spec.memory_mib,
            kernel=self._image.kernel,
            initramfs=initramfs(self.directory),
            kernel_arguments=self._plan.kernel_arguments,
            drives=self._drives(),
            cards=(Card(self.lease.tap, self.record.mac), *self._plan.cards),
            runtime=self.runtime,
            log=self.directory / "vmm.log",
            **self._beginning(),
        )

    def _beginning(self) -> dict[str, Any]:
        """What the guest begins in, for the plan."""
        if self._origin is not None:
            fittings = msgspec.structs.asdict(self._origin.fittings)
            ram = self._origin.ram and Ram(self._origin.ram, shared=False)
            return {"state": self._origin.state, "ram": ram, **fittings}
        if self._seed is None:
            return {}
        ram = Ram(self._seed.ram, shared=False)
        return {"ram": ram, "state": self._seed.files.state, "balloon": False}

    async def _await_agent(self) -> str:
        if self._seed is None:
            return await self.guest.answers(AGENT_DEADLINE_S)
        # It answers when it is configured: to be asked something else before takes it 50 ms.
        return "up in its seed"

    async def _configure(self) -> str:
        if self._origin is not None:
            self.notes = await self.guest.configure(self._warm_config(self._origin.mac))
            return "; ".join(self.notes)
        if self._seed is None:
            self.notes = await self.guest.check_configured()
            return "; ".join(self.notes)
        try:
            self.notes = await self.guest.configure(self._warm_config(TEMPLATE_MAC))
            return "; ".join(self.notes)
        except (BangerError, trio.TooSlowError) as error:
            # What the guest could not apply is not the seed's fault, most likely.
            note = await self._fall_back(error, drop=not isinstance(error, GuestError))
        await self.guest.answers(AGENT_DEADLINE_S)
        self.notes = await self.guest.check_configured()
        return "; ".join([note, *self.notes])

    def _warm_config(self, mac_before: str) -> GuestConfig:
        """The cold one, and what a boot would have brought that no two VMs may share."""
        config, mac = self._plan.config, self.record.mac
        interfaces = [
            msgspec.structs.replace(card, template_mac=mac_before) if card.mac == mac else card
            for card in config.interfaces
        ]
        return msgspec.structs.replace(
            config,
            interfaces=interfaces,
            entropy=os.urandom(ENTROPY_BYTES),
            boot_id="" if self._origin and self._origin.same else str(uuid.uuid4()),
            unix_ns=time.time_ns(),
        )


def root_disk(directory: Path) -> Path:
    return directory / "root.qcow2"


def initramfs(directory: Path) -> Path:
    return directory / "initramfs"


def _sizes(plan: MachinePlan) -> dict[str, int]:
    """In bytes by their serials, of the disks that are not as large as what they lie on. To tell a
    guest the size that it knows keeps it busy for a while: each time its udev looks at the disk."""
    sizes = {}
    for drive in plan.drives:
        if drive.format is DiskFormat.OVERLAY:
            size = qcow2.read_header(drive.path).virtual_size
            if not drive.layers or qcow2.read_header(drive.layers[-1]).virtual_size != size:
                sizes[drive.serial] = size
    return sizes
