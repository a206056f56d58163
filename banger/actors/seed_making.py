"""Making a warm seed: boot the image once, and keep the machine as it is before it is anybody.

The template has a disk over the image's, a card whose cable ends nowhere, a mounted work disk as
its clones will have, and a configuration that names nobody. It appears by one rename when it is
complete, or not at all.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from banger.actors.blocking import run_blocking
from banger.capabilities.builtin.ssh import HOST_KEY_PLACE
from banger.capabilities.builtin.work import PLACE as WORK_PLACE
from banger.guest import agent
from banger.guest.link import AgentLink
from banger.host import file_lock, keys, qcow2
from banger.host.grow_ext4 import grown_copy
from banger.host.image_files import ImageFiles
from banger.host.initramfs import write_initramfs
from banger.host.paths import Paths, make_private
from banger.host.ram_file import RamFile
from banger.host.seed_files import SeedFiles, state_digest
from banger.kernel.errors import BangerError, Busy, HostNotReady, TimedOut, VmmError
from banger.kernel.store import RecordStore, sync_directory
from banger.model import guest
from banger.model.image import ImageRecord
from banger.model.machine import Card, DiskFormat, Drive
from banger.model.seed import TEMPLATE_MAC, SeedOrder, SeedRecord
from banger.model.sizes import MIB
from banger.vmm.base import Machine, MachineEvent, MachinePlan, Ram, Vmm

log = logging.getLogger(__name__)

MAKING = ".making-"
LOCK = ".lock-"
AGENT_DEADLINE_S = 240.0
SETTLE_DEADLINE_S = 240.0
CLEAN_DEADLINE_S = 15.0
_ROOT_SERIAL = "root"

Tell = Callable[[str], None]


class SeedMaker:
    """``store`` is where the seeds are."""

    def __init__(
        self, store: RecordStore[SeedRecord], driver: Vmm, paths: Paths, *, work_bytes: int
    ) -> None:
        """``work_bytes`` is the size that most work disks have."""
        self._store = store
        self._work_bytes = work_bytes
        self._driver = driver
        self._paths = paths

    async def make(self, order: SeedOrder, image: ImageRecord, key: str, tell: Tell) -> SeedRecord:
        """``tell`` is told each step. Cancelled or failing it leaves nothing.

        Raises `Busy` while another daemon makes the same, `HostNotReady`, `VmmError`, `TimedOut`,
        and what the guest's agent raises.
        """
        machine_id = secrets.token_hex(16)
        partial = self._store.root / f"{MAKING}{key}.{machine_id}"
        async with self._workplace(partial, machine_id, key):
            files = SeedFiles.of(partial)
            images = ImageFiles.of(self._paths.images / image.id, image.registered)
            ram = await run_blocking(RamFile.of_size, order.memory_mib * MIB)
            try:
                plan = template_plan(
                    order,
                    images,
                    machine_id=machine_id,
                    directory=partial,
                    runtime=self._paths.seed_runtime / machine_id[:8],
                    ram=Ram(ram.path, shared=True),
                )
                tell("disks")
                await run_blocking(self._make_disks, plan, images, image.root_bytes)
                await self._boot_and_save(plan, files, tell)
                tell("memory")
                digest = await run_blocking(ram.store, files.ram)
            finally:
                ram.close()
            record = SeedRecord(
                id=f"{key}-{machine_id[:4]}",
                key=key,
                image=image.name,
                order=order,
                made_at=time.time(),
                ram_digest=digest,
                state_digest=await run_blocking(state_digest, files.state),
                work_bytes=self._work_bytes if order.drives else 0,
            )
            await run_blocking(self._publish, partial, plan, record)
            return record

    @asynccontextmanager
    async def _workplace(self, partial: Path, machine_id: str, key: str) -> AsyncIterator[None]:
        try:
            await run_blocking(lambda: make_private(self._paths.seed_runtime))
            lock = await run_blocking(file_lock.take, self._store.root / f"{LOCK}{key}")
        except OSError as error:
            raise HostNotReady(f"{self._store.root} can't be used: {error.strerror}") from None
        if lock is None:
            raise Busy("another daemon is making the same seed", hint="try again in a minute")
        try:
            try:
                await run_blocking(lambda: partial.mkdir(mode=0o700))
                yield
            except OSError as error:
                raise HostNotReady(f"{partial} can't be written: {error.strerror}") from None
        finally:
            with trio.move_on_after(CLEAN_DEADLINE_S) as deadline:
                deadline.shield = True
                await run_blocking(lambda: shutil.rmtree(partial, ignore_errors=True))
                await self._driver.forget(self._paths.seed_runtime / machine_id[:8])
                with contextlib.suppress(OSError):  # another one is being made
                    self._paths.seed_runtime.rmdir()
            lock.release()

    async def _boot_and_save(self, plan: MachinePlan, files: SeedFiles, tell: Tell) -> None:
        tell("boot")
        machine = await self._driver.launch(plan)
        try:
            async with attended(machine):
                link = AgentLink(machine.dial, self._driver.traits.agent_channels)
                try:
                    with trio.fail_after(AGENT_DEADLINE_S):
                        await agent.health(link)
                    await machine.booted()
                    tell("settle")
                    await agent.freeze(link, SETTLE_DEADLINE_S)
                except trio.TooSlowError:
                    raise TimedOut("the template's agent does not answer") from None
                finally:
                    await link.reset()
                tell("save")
                await machine.pause()
                await _save(machine, files.state)
        finally:
            with trio.CancelScope(shield=True):
                await machine.kill()
            machine.close()

    def _make_disks(self, plan: MachinePlan, image: ImageFiles, root_bytes: int) -> None:
        root, *others = plan.drives
        qcow2.create_overlay(root.path, backing=str(image.root), virtual_size=root_bytes)
        for drive in others:
            assert drive.base is not None and image.work_seed is not None
            grown_copy(image.work_seed, drive.base, self._work_bytes)
            size = drive.base.stat().st_size
            qcow2.create_overlay(drive.path, backing=str(drive.base), virtual_size=size)
        write_initramfs(plan.initramfs, image.modules, nobody(plan))

    def _publish(self, partial: Path, plan: MachinePlan, record: SeedRecord) -> None:
        plan.initramfs.unlink()
        # What a template's VMM had to say is of use to nobody once it has become a seed.
        plan.log.unlink(missing_ok=True)
        for drive in plan.drives:
            _sync(drive.path)
        for drive in plan.drives[1:]:
            assert drive.base is not None
            _sync(drive.base)
        self._store.save(partial.name, record)
        partial.rename(self._store.directory(record.id))
        sync_directory(self._store.root)

    async def sweep(self) -> None:
        """End templates whose daemon has gone, and remove what is left of them."""
        for partial in await run_blocking(lambda: sorted(self._store.root.glob(f"{MAKING}*"))):
            key, _, machine_id = partial.name.removeprefix(MAKING).partition(".")
            lock = await run_blocking(file_lock.take, self._store.root / f"{LOCK}{key}")
            if lock is None:
                continue  # another daemon with this cache is at it
            try:
                await self._end(machine_id)
                await run_blocking(lambda path=partial: shutil.rmtree(path, ignore_errors=True))
            finally:
                lock.release()
        # With the lock of this instance's daemon, so nothing here is in use.
        await run_blocking(lambda: shutil.rmtree(self._paths.seed_runtime, ignore_errors=True))

    async def _end(self, machine_id: str) -> None:
        try:
            identity = await self._driver.find(machine_id)
        except ValueError:
            return  # no name of ours
        if identity is None:
            return
        runtime = self._paths.seed_runtime / machine_id[:8]
        machine = await self._driver.adopt(identity, runtime)
        if machine is not None:
            log.warning("ending a template that a daemon left, pid %d", identity.pid)
            await machine.kill()
            machine.close()


def template_plan(
    order: SeedOrder,
    image: ImageFiles,
    *,
    machine_id: str,
    directory: Path,
    runtime: Path,
    ram: Ram | None,
) -> MachinePlan:
    """The machine that a seed is made with; its clones differ only in what is behind it."""
    others = [
        # The work disk, the only one there can be: `BringUp` boots VMs that have others.
        Drive(
            serial,
            SeedFiles.of(directory).work,
            DiskFormat.OVERLAY,
            base=SeedFiles.of(directory).work_base,
        )
        for serial in order.drives
    ]
    return MachinePlan(
        id=machine_id,
        name="seed",
        vcpus=order.vcpus,
        memory_mib=order.memory_mib,
        kernel=image.kernel,
        initramfs=directory / "initramfs",
        kernel_arguments=order.kernel_arguments,
        drives=(
            Drive(_ROOT_SERIAL, SeedFiles.of(directory).root, DiskFormat.OVERLAY, base=image.root),
            *others,
        ),
        cards=(Card("", TEMPLATE_MAC),),
        runtime=runtime,
        log=directory / "vmm.log",
        ram=ram,
        balloon=False,
        background=True,
    )


def nobody(plan: MachinePlan) -> guest.GuestConfig:
    """What a template is told: an id and a host key that are thrown away when it is frozen.

    Without an id systemd may take the boot for the image's first; without a key there is no sshd.
    Its work disk is mounted and its root file system grown, for that takes a guest in emulation
    longer than all else it is told when it becomes somebody.
    """
    with tempfile.TemporaryDirectory() as directory:
        pair = keys.make_key(Path(directory, "key"), "template")
    return guest.GuestConfig(
        version=guest.VERSION,
        machine_id=secrets.token_hex(16),
        files=[guest.GuestFile(HOST_KEY_PLACE, 0o600, pair.private)],
        mounts=[guest.Mount(drive.serial, WORK_PLACE, "ext4") for drive in plan.drives[1:]],
        unnest=[WORK_PLACE for _ in plan.drives[1:]],
        grow_root=True,
    )


@asynccontextmanager
async def attended(machine: Machine) -> AsyncIterator[None]:
    """Hold the machine's control channel in the body.

    Raises `VmmError` in the body's place when the VMM ends meanwhile.
    """
    ended = False

    async def attend(task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        nonlocal ended
        await machine.attend(_ignore, task_status=task_status)
        ended = True
        nursery.cancel_scope.cancel()

    failure: BangerError | None = None
    async with trio.open_nursery() as nursery:
        try:
            await nursery.start(attend)
            yield
        except BangerError as error:
            failure = error
        nursery.cancel_scope.cancel()
    if ended:
        raise VmmError("the template's VMM ended before the guest had settled")
    if failure is not None:
        raise failure


def _ignore(event: MachineEvent) -> None:
    pass


async def _save(machine: Machine, path: Path) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        await machine.save(file)
        await run_blocking(os.fsync, file)
    finally:
        os.close(file)


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
