"""From a record to a running guest, in named stages, each with its undo."""

from __future__ import annotations

import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import msgspec
import trio

from banger.actors.blocking import run_blocking
from banger.actors.services import Services
from banger.actors.tap_pool import (
    AcquireAddress,
    AcquireTap,
    ReleaseAddress,
    ReleaseTap,
    TapLease,
)
from banger.capabilities.guest import GuestBuilder
from banger.capabilities.hooks import Hooks, Undo, undo_all
from banger.capabilities.host import Vm
from banger.guest import agent
from banger.guest.link import AgentLink
from banger.host import assets, cpio, qcow2
from banger.host.image_files import ImageFiles, usable_files
from banger.kernel.errors import ConnectionLost, TimedOut, VmmError
from banger.kernel.stages import Stage
from banger.model.machine import Card, DiskFormat, Drive
from banger.model.vm import VmRecord
from banger.vmm.base import Machine, MachinePlan

T = TypeVar("T")

AGENT_DEADLINE_S = 120.0
"""An emulated guest on a busy host is slow; a healthy one answers after about three seconds."""

ENDING_S = 2.0
"""How long after its connections a VMM that ends may take to be gone."""

ROOT_SERIAL = "root"


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
        guest_ended: Callable[[], Awaitable[str]],
    ) -> None:
        """``seen`` makes the VM as hooks see it; ``attend`` puts a launched machine under
        watch; ``guest_ended`` waits for its end."""
        self.record = record
        self.machine: Machine | None = None
        self.link: AgentLink | None = None
        self._services = services
        self._hooks = hooks
        self._seen = seen
        self._undo: list[Undo] = []
        self._plan = GuestBuilder().build()
        self._attend = attend
        self._guest_ended = guest_ended
        self.lease: TapLease | None = None
        self.notes: tuple[str, ...] = ()
        self._image = ImageFiles.of(services.paths.images / record.image_id)

    def create_stages(self, *, start: bool) -> list[Stage[None]]:
        stages: list[Stage[None]] = [
            self._stage("admit", self._admit),
            self._stage("record", self._write_intent, self._remove_record),
            self._stage("address", self._take_address, self._return_address),
            self._stage("root-disk", self._make_root_disk),
        ]
        return stages + (self._running_stages() if start else [])

    def start_stages(self) -> list[Stage[None]]:
        return [self._stage("admit", self._admit), *self._running_stages()]

    def _running_stages(self) -> list[Stage[None]]:
        return [
            self._stage("tap", self._take_tap, self._return_tap),
            self._stage("prepare", self._prepare, self._undo_hooks),
            self._stage("guest-config", self._write_guest_config, self._remove_guest_config),
            self._stage("vmm", self._launch, self._end_vmm),
            self._stage("agent", self._await_agent),
            self._stage("configure", self._check_configured),
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
            size = self.record.spec.disk_bytes
            qcow2.create_overlay(path, backing=str(self._image.root), virtual_size=size)
            return path.stat().st_blocks * 512

        allocated = await run_blocking(make)
        return f"overlay, {allocated >> 10} KiB allocated"

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
        return ""

    async def _write_guest_config(self) -> str:
        self._plan = self._hooks.contribute(self._vm, self.record.options)
        config = self._plan.config

        def write() -> int:
            binary = assets.agent_binary().read_bytes()
            parts: list[Path | bytes] = [
                self._image.modules,
                cpio.archive([cpio.Entry("init", stat.S_IFREG | 0o755, binary)]),
                cpio.archive(
                    [
                        cpio.Entry("banger", stat.S_IFDIR | 0o755),
                        cpio.Entry(
                            "banger/guest.json", stat.S_IFREG | 0o600, msgspec.json.encode(config)
                        ),
                    ]
                ),
            ]
            cpio.assemble_initramfs(initramfs(self.directory), parts)
            return initramfs(self.directory).stat().st_size

        return f"initramfs of {await run_blocking(write) >> 10} KiB"

    async def _remove_guest_config(self) -> None:
        await run_blocking(lambda: initramfs(self.directory).unlink(missing_ok=True))

    async def _launch(self) -> str:
        # Recorded before and after: a daemon killed in between finds the VMM by its id.
        await self.save(process=None)
        machine = await self._services.driver.launch(self._machine_plan())
        self.machine = machine
        await self.save(process=machine.identity)
        await self._attend(machine)
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
            drives=(
                Drive(
                    ROOT_SERIAL,
                    root_disk(self.directory),
                    DiskFormat.OVERLAY,
                    base=self._image.root,
                ),
                *self._plan.drives,
            ),
            cards=(Card(self.lease.tap, self.record.mac), *self._plan.cards),
            runtime=self.runtime,
            log=self.directory / "vmm.log",
        )

    async def _end_vmm(self) -> None:
        if self.machine is not None:
            await self.machine.kill()
            self.machine.close()
        await self._services.driver.forget(self.runtime)

    async def _await_agent(self) -> str:
        """The first request waits in the guest's port until the agent opens it: no polling."""
        assert self.machine is not None
        link = AgentLink(self.machine.dial, self._services.driver.traits.agent_channels)
        self.link = link
        try:
            with trio.fail_after(AGENT_DEADLINE_S):
                health = await self._unless_ended(lambda: agent.health(link))
        except trio.TooSlowError:
            raise TimedOut(
                f"the guest's agent did not answer within {AGENT_DEADLINE_S:.0f} s",
                hint="the image may not boot: see the console",
            ) from None
        return f"guest up for {health.uptime_ms} ms"

    async def _check_configured(self) -> str:
        assert self.link is not None and self.machine is not None
        link, machine = self.link, self.machine
        self.notes = await self._unless_ended(lambda: agent.check_configured(link))
        await machine.booted()
        return "; ".join(self.notes)

    async def _unless_ended(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do the work, or raise as soon as the guest has ended."""
        results: list[T] = []
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                raise VmmError(await self._guest_ended())

            nursery.start_soon(watch)
            try:
                results.append(await work())
            except ConnectionLost:
                # Because the guest has ended, most likely; its end is seen a little later.
                await trio.sleep(ENDING_S)
                raise
            nursery.cancel_scope.cancel()
        return results[0]


def root_disk(directory: Path) -> Path:
    return directory / "root.qcow2"


def initramfs(directory: Path) -> Path:
    return directory / "initramfs"
