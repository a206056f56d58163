"""How fast a VM could be at most: the bare VMM with the same machine, and nothing of banger's."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from pathlib import Path

import msgspec
import trio

from banger.actors.blocking import run_blocking
from banger.actors.seed_making import attended, nobody, template_plan
from banger.guest import agent
from banger.guest.link import AgentLink
from banger.host import qcow2
from banger.host.image_files import ImageFiles
from banger.host.initramfs import write_initramfs
from banger.host.paths import Paths, make_private
from banger.host.seed_files import SeedFiles
from banger.model.seed import SeedFloor, SeedRecord
from banger.vmm.base import MachinePlan, Ram, Vmm


async def measure_floor(
    driver: Vmm, paths: Paths, seed: SeedRecord, image: ImageFiles, files: SeedFiles, ram: Path
) -> SeedFloor:
    """Restore the seed's machine, and boot one like it. Raises what the VMM and the agent raise."""
    await run_blocking(lambda: make_private(paths.seed_runtime))
    directory = Path(
        await run_blocking(lambda: tempfile.mkdtemp(dir=paths.seeds, prefix=".floor-"))
    )
    try:
        bare = template_plan(
            seed.order,
            image,
            machine_id=secrets.token_hex(16),
            directory=directory,
            runtime=paths.seed_runtime / directory.name,
            ram=None,
        )
        root, *others = bare.drives
        restored = msgspec.structs.replace(
            bare,
            drives=(
                msgspec.structs.replace(root, path=directory / "over", layers=(files.root,)),
                *(
                    msgspec.structs.replace(drive, base=files.work_base, layers=(files.work,))
                    for drive in others
                ),
            ),
            ram=Ram(ram, shared=False),
            state=files.state,
            background=False,
        )
        booted = msgspec.structs.replace(
            bare, drives=(root, *restored.drives[1:]), background=False
        )
        await run_blocking(_make_disks, restored)
        await run_blocking(_make_disks, booted)
        await run_blocking(write_initramfs, bare.initramfs, image.modules, nobody(bare))
        restore_ms, answer_ms = await _time(driver, restored)
        _, boot_ms = await _time(driver, booted)
        return SeedFloor(restore_ms, answer_ms, boot_ms)
    finally:
        with trio.CancelScope(shield=True):
            await run_blocking(lambda: shutil.rmtree(directory, ignore_errors=True))


async def _time(driver: Vmm, plan: MachinePlan) -> tuple[float, float]:
    """Milliseconds from nothing to a running guest, and to its agent's first answer."""
    begun = trio.current_time()
    machine = await driver.launch(plan)
    try:
        async with attended(machine):
            if plan.state is not None:
                await machine.resume()
            running_ms = (trio.current_time() - begun) * 1000
            link = AgentLink(machine.dial, driver.traits.agent_channels)
            try:
                await agent.health(link)
                return running_ms, (trio.current_time() - begun) * 1000
            finally:
                await link.reset()
    finally:
        with trio.CancelScope(shield=True):
            await machine.kill()
            machine.close()
            await driver.forget(plan.runtime)


def _make_disks(plan: MachinePlan) -> None:
    for drive in plan.drives:
        if not drive.path.exists():
            below = drive.layers[-1] if drive.layers else drive.base
            assert below is not None
            size = qcow2.read_header(below).virtual_size if drive.layers else below.stat().st_size
            qcow2.create_overlay(drive.path, backing=None, virtual_size=size)
