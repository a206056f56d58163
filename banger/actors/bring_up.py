"""From a record to a running guest, in named stages, each with its undo."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import trio

from banger.actors.beginning import seed_order, why_cold, why_not_standby, work_bytes
from banger.actors.blocking import run_blocking
from banger.actors.guest_start import AGENT_DEADLINE_S, GuestStart
from banger.actors.origin import Origin
from banger.actors.seeds import DropSeed, FindSeed, FoundSeed, Seed, WantSeed
from banger.actors.services import Services
from banger.actors.standby import Standby, StandbyKind, WantStandby
from banger.actors.tap_pool import (
    AcquireAddress,
    AcquireTap,
    ReleaseAddress,
    ReleaseTap,
    TapLease,
)
from banger.actors.vm_disks import VmDisks, new_sizes
from banger.actors.vmm_watch import VmmWatch
from banger.capabilities.guest import GuestBuilder, GuestPlan
from banger.capabilities.hooks import Hooks, Undo, undo_all
from banger.capabilities.host import Vm
from banger.host.image_files import ImageFiles, usable_files
from banger.host.initramfs import replace_config, write_initramfs
from banger.kernel.errors import BangerError, GuestError, HostNotReady, TimedOut
from banger.kernel.stages import Stage
from banger.model.guest import GuestConfig
from banger.model.machine import Card
from banger.model.seed import TEMPLATE_MAC, SeedOrder
from banger.model.vm import Beginning, VmRecord
from banger.model.warm_config import beyond_template, news, personal
from banger.vmm.base import Machine, MachinePlan, Ram

log = logging.getLogger(__name__)

WAKE_DEADLINE_S = 5.0


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
        standby: Standby | None = None,
    ) -> None:
        """``origin``: what the guest begins in, on the layers in the record. ``standby``: what
        the VM of this record has been so far.

        ``seen`` makes the VM as hooks see it; ``attend`` puts a launched machine under the
        watch of ``vmm``."""
        self.record = record
        self._services = services
        self.guest = GuestStart(services.driver, self.runtime, vmm=vmm, attend=attend)
        self._hooks = hooks
        self._seen = seen
        self.lease: TapLease | None = None
        self.undo: list[Undo] = []
        """What hooks have made."""
        self.plan: GuestPlan = GuestBuilder().build()
        self._origin = origin
        self.seed: Seed | None = None
        """What the guest begins in; None: it is booted."""
        self._standby = standby
        if standby is not None:
            self.seed, self.lease, self.undo = standby.seed, standby.lease, standby.undo
            self.guest.take_over(standby.machine, standby.link)
        self._nameless = False
        self._cold = False
        self._wanted: SeedOrder | None = None
        """What it could have begun in, had there been one."""
        self.notes: tuple[str, ...] = ()
        self._image = ImageFiles.of(services.paths.images / record.image_id)

    def create_stages(
        self, *, start: bool, begin: Beginning = Beginning.STANDBY
    ) -> list[Stage[None]]:
        self._cold = begin is Beginning.COLD
        admit, record = self._stage("admit", self._admit), self._record_stage()
        address = self._address_stage()
        if self._origin is not None:
            disks = self._stage("root-disk", self._lay_on_layers)
            return [admit, record, address, disks, *self._host_stages(), *self._guest_stages()]
        if not start:
            return [admit, record, address, self._disk_stage()]
        return [
            self._stage("standby", self._tell_standby, self._end_standby),
            admit,
            record,
            address,
            *self._host_stages(),
            self._stage("seed", self._find_seed),
            self._disk_stage(),
            *self._guest_stages(),
        ]

    def standby_stages(self) -> list[Stage[None]]:
        """For the pool: a guest that begins in a seed, and is told all but who it is to be."""
        self._nameless = True
        return [
            self._record_stage(),
            self._address_stage(),
            *self._host_stages(),
            self._stage("seed", self._find_seed),
            self._disk_stage(),
            *self._up_stages(),
        ]

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

    def _record_stage(self) -> Stage[None]:
        return self._stage("record", self._write_intent, self._remove_record)

    def _address_stage(self) -> Stage[None]:
        return self._stage("address", self._take_address, self._return_address)

    def _disk_stage(self) -> Stage[None]:
        return self._stage("root-disk", self._make_root_disk)

    def _host_stages(self) -> list[Stage[None]]:
        return [
            self._stage("tap", self._take_tap, self._return_tap),
            self._stage("prepare", self._prepare, self._undo_hooks),
            self._stage("guest-config", self._write_guest_config, self._remove_guest_config),
        ]

    def _up_stages(self) -> list[Stage[None]]:
        return [
            self._stage("vmm", self._launch, self.guest.end),
            self._stage("agent", self._await_agent),
            self._stage("configure", self._configure),
        ]

    def _guest_stages(self) -> list[Stage[None]]:
        return [*self._up_stages(), self._stage("started", self._tell_started)]

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

    @property
    def _disks(self) -> VmDisks:
        return VmDisks(self._services.paths, self.directory, self._image, self.record)

    async def _admit(self) -> str:
        self._image = await self._usable_image()
        for layer in self._disks.seed_layers:
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
        if self._standby is not None:
            # Only now: either of the two records leads to the VMM.
            await run_blocking(self._standby.move_files, self.directory)
        return ""

    async def _remove_record(self) -> None:
        await self._end_standby()
        await run_blocking(self._services.store.delete, self.record.name)

    async def _take_address(self) -> str:
        lease = await self._services.taps.ask(AcquireAddress(self.record.id))
        if lease.address != self.record.address:
            # Saved at once: a pool that is built anew knows who has which from the records.
            await self.save(address=lease.address, mac=lease.mac)
        return lease.address

    async def _return_address(self) -> None:
        await self._services.taps.ask(ReleaseAddress(self.record.id))

    async def _make_root_disk(self) -> str:
        if self._standby is not None:
            return "in use already"
        # Once more: from the record on the image can't be deleted, but until then it could.
        self._image = await self._usable_image()
        allocated = await run_blocking(self._disks.make_root)
        return f"overlay, {allocated >> 10} KiB allocated"

    async def _lay_on_layers(self) -> str:
        """Make all disks of the VM, each on the topmost layer that has it."""
        self._image = await self._usable_image()
        count = await run_blocking(self._disks.lay_on_layers)
        return f"{count} overlays on {len(self.record.layers)} layers"

    # --- a guest that stands ready ---

    async def _tell_standby(self) -> str:
        return "none is ready" if self._standby is None else self.record.short_id

    async def _leave_standby(self, reason: str) -> None:
        """End it, and go on as a VM of its id and address that has not begun."""
        log.info("VM %s does not become the one that was ready: %s", self.record.name, reason)
        await self.guest.end()
        self._standby = self.seed = None
        self.record = msgspec.structs.replace(self.record, seed="", seed_work=False, process=None)
        await run_blocking(self._disks.make_work, self.plan.drives)

    async def _end_standby(self) -> None:
        standby, self._standby = self._standby, None
        if standby is not None:
            await self._undo_hooks()
            await self._return_tap()
            await self._return_address()
            await run_blocking(standby.forget)

    # --- what it has while it runs ---

    async def _take_tap(self) -> str:
        request = AcquireTap(self.record.id, self.record.address)
        self.lease = await self._services.taps.ask(request)
        return self.lease.tap

    async def _return_tap(self) -> None:
        # A guest that stood ready has its VMM before its TAP.
        await self.guest.end()
        await self._services.taps.ask(ReleaseTap(self.record.id))

    async def _prepare(self) -> str:
        await self._hooks.prepare(self._vm, self.record.options, self.undo)
        return ""

    async def _undo_hooks(self) -> None:
        await self.guest.end()
        await undo_all(self.undo)

    async def _tell_started(self) -> str:
        await self._hooks.started(self._vm, self.record.options, self.undo)
        if self._wanted is not None:
            await self._services.seeds.ask(WantSeed(self._wanted))
        if self.seed is not None:
            await self._want_standby()
        return ""

    async def _want_standby(self) -> None:
        try:
            await self._services.standby.ask(WantStandby(StandbyKind.of(self.record)))
        except BangerError as error:
            # The pool has crashed or stopped, which is no matter of this VM's.
            log.warning("no VMs like %s are kept ready: %s", self.record.name, error)

    async def _write_guest_config(self) -> str:
        self.plan = self._hooks.contribute(self._vm, self.record.options)
        path, modules, config = initramfs(self.directory), self._image.modules, self.plan.config
        # A guest that begins in a seed is told by its agent, but it may reboot.
        if self._standby is not None:
            try:
                await run_blocking(replace_config, path, config)
                return "in the initramfs of the one that was ready"
            except HostNotReady as error:
                await self._leave_standby(error.message)
        size = await run_blocking(
            lambda: write_initramfs(path, modules, config, area=self._nameless)
        )
        return f"initramfs of {size >> 10} KiB"

    async def _remove_guest_config(self) -> None:
        await run_blocking(lambda: initramfs(self.directory).unlink(missing_ok=True))

    # --- the warm seed ---

    async def _find_seed(self) -> str:
        """Say whether the guest is booted or begins in a seed, and why."""
        found = await self._seek_seed()
        if self._standby is not None:
            problem = why_not_standby(self._standby, found, self.plan.config)
            if not problem:
                return f"standby: {self._standby.seed.id}"
            await self._leave_standby(problem)
            await self._write_guest_config()
        if found.seed is None and self._nameless:
            raise HostNotReady(f"it would have to be booted: {found.reason}")
        if found.seed is None:
            return f"cold: {found.reason}"
        self.seed = found.seed
        # Saved before the VMM starts: from then on the seed's disk can't be removed.
        self.record = msgspec.structs.replace(
            self.record, seed=found.seed.id, seed_work=bool(self.plan.drives)
        )
        await run_blocking(self._disks.make_work, self.plan.drives)
        return f"warm: {found.seed.id}"

    async def _seek_seed(self) -> FoundSeed:
        reason = "as was asked" if self._cold else why_cold(self.plan)
        if reason:
            return FoundSeed(None, reason)
        order = seed_order(self.record, self.plan)
        found = await self._services.seeds.ask(FindSeed(order))
        self._wanted = order if found.seed is None else None
        seed_bytes = 0 if found.seed is None else found.seed.work_bytes
        if seed_bytes > await run_blocking(work_bytes, self.plan):
            # The guest in the seed knows the disk by its size; it can grow and not shrink.
            return FoundSeed(None, "its work disk is smaller than the seed's")
        return found

    async def _fall_back(self, problem: BangerError, *, drop: bool) -> str:
        """The seed was of no use: end what began in it, and boot the guest."""
        assert self.seed is not None
        seed, self.seed, self._standby = self.seed, None, None
        reason = problem.message
        log.warning("VM %s is booted, not begun in %s: %s", self.record.name, seed.id, reason)
        await self.guest.end()
        self.record = msgspec.structs.replace(self.record, seed="", seed_work=False)
        await run_blocking(self._disks.make_work, self.plan.drives)
        await self._make_root_disk()
        # With no record that names it, the seed is removed with its disks.
        await self.save(process=None)
        if drop:
            await self._services.seeds.ask(DropSeed(seed.id, reason))
        await self._launch_guest()
        return f"booted after all, the seed failed: {reason}"

    # --- the VMM and its guest ---

    async def _launch(self) -> str:
        try:
            if self._standby is not None:
                return await self._wake()
            return await self._launch_guest()
        except BangerError as error:
            if self.seed is None or self._nameless:
                raise
            return await self._fall_back(error, drop=self._standby is None)

    async def _wake(self) -> str:
        """Let the guest that stands ready go on."""
        with trio.move_on_after(WAKE_DEADLINE_S):
            await self.guest.attend(untouched=False)
            await self.guest.resume({})
            assert self.record.process is not None
            return f"pid {self.record.process.pid}"
        raise TimedOut(f"its VMM did not answer within {WAKE_DEADLINE_S:.0f} s")

    async def _launch_guest(self) -> str:
        # Recorded before and after: a daemon killed in between finds the VMM by its id.
        await self.save(process=None)
        plan = self._machine_plan()
        machine = await self.guest.launch(plan)
        await self.save(process=machine.identity)
        await self.guest.attend(untouched=self.seed is not None)
        if plan.state is not None:
            # Written first: what goes on can't begin there once more, its disks will differ.
            await self.save(suspended=None)
            await self.guest.resume(await run_blocking(new_sizes, plan))
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
            kernel_arguments=self.plan.kernel_arguments,
            drives=self._disks.drives(self.plan.drives),
            cards=(Card(self.lease.tap, self.record.mac), *self.plan.cards),
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
        if self.seed is None:
            return {}
        ram = Ram(self.seed.ram, shared=False)
        return {"ram": ram, "state": self.seed.files.state, "balloon": False}

    async def _await_agent(self) -> str:
        if self.seed is None:
            return await self.guest.answers(AGENT_DEADLINE_S)
        # It answers when it is configured: to be asked something else before takes it 50 ms.
        return "up in its seed"

    async def _configure(self) -> str:
        if self._origin is None and self.seed is None:
            self.notes = await self.guest.check_configured()
            return "; ".join(self.notes)
        try:
            self.notes = await self.guest.configure(await run_blocking(self._warm_config))
            return "; ".join(self.notes)
        except BangerError as error:
            if self.seed is None or self._nameless:
                raise
            # What the guest could not apply is not the seed's fault, most likely.
            drop = self._standby is None and not isinstance(error, GuestError)
            note = await self._fall_back(error, drop=drop)
        await self.guest.answers(AGENT_DEADLINE_S)
        self.notes = await self.guest.check_configured()
        return "; ".join([note, *self.notes])

    def _warm_config(self) -> GuestConfig:
        """Blocks."""
        config, origin = self.plan.config, self._origin
        same = origin is not None and origin.same
        if self._standby is not None:
            new, same = news(config, self._standby.told), True
            assert new is not None  # or it would have been left
            config = new
        elif self.seed is not None:
            config = beyond_template(
                config,
                same_root=self.record.spec.disk_bytes == self._image.root.stat().st_size,
                same_work=work_bytes(self.plan) == self.seed.work_bytes,
            )
        return personal(
            config,
            mac=self.record.mac,
            mac_before=TEMPLATE_MAC if origin is None else origin.mac,
            boot_id="" if same else str(uuid.uuid4()),
        )


def initramfs(directory: Path) -> Path:
    return directory / "initramfs"
