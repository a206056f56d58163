"""The images: which there are, and the building of new ones.

Each build has a directory of its own, so VMs of an older build keep their disks' base. A
build appears by one rename when it is complete, or not at all.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import trio

from banger.actors.blocking import run_blocking
from banger.kernel.actor import Actor, Envelope, Inbox, cancelled_when_abandoned
from banger.kernel.bus import Bus
from banger.kernel.errors import CommandFailed, Conflict, CorruptRecord, HostNotReady, NotFound
from banger.kernel.message import Request
from banger.kernel.store import RecordStore
from banger.kernel.wire import BAD_BYTES
from banger.model.clock import rfc3339
from banger.model.events import BuildProgress
from banger.model.image import ImageRecord, ImageView
from banger.model.vm import VmRecord

log = logging.getLogger(__name__)

_BUILDING = ".building-"
LOG_NAME = "build.log"
STOP_DEADLINE_S = 1.5
LINE_LIMIT_BYTES = 4096


class FindImage(Request[ImageRecord], frozen=True):
    """The newest build of that name. Raises `NotFound`."""

    name: str


class DescribeImage(Request[ImageView], frozen=True):
    name: str


class ListImages(Request[list[ImageView]], frozen=True):
    pass


class BuildImage(Request[ImageView], frozen=True):
    """Abandoned, it is ended and leaves nothing. Progress goes to the bus."""

    name: str
    recipe: str


class _BuildFacts(msgspec.Struct, frozen=True):
    """What a recipe's build.json must say; it may say more."""

    kernel: str
    distribution: str


class Images(Actor):
    name = "images"

    def __init__(
        self,
        store: RecordStore[ImageRecord],
        bus: Bus,
        *,
        vms: Callable[[], Iterable[VmRecord]],
        find_builder: Callable[[str], Path],
        environment: Mapping[str, str],
    ) -> None:
        """``vms()`` reads the records of all VMs; ``find_builder`` knows the recipes, which run
        with ``environment`` added to the daemon's own."""
        self._store = store
        self._bus = bus
        self._vms = vms
        self._find_builder = find_builder
        self._environment = dict(environment)
        self._building: set[str] = set()

    async def run(self, inbox: Inbox) -> None:
        await run_blocking(self._sweep)
        async with trio.open_nursery() as nursery:
            async for envelope in inbox:
                nursery.start_soon(self._answer, envelope)

    async def _answer(self, envelope: Envelope[Any]) -> None:
        with envelope:
            match envelope.request:
                case FindImage(name):
                    envelope.reply(await run_blocking(self._find, name))
                case DescribeImage(name):
                    envelope.reply(await run_blocking(lambda: self._view(self._find(name))))
                case ListImages():
                    envelope.reply(await run_blocking(self._list))
                case BuildImage(name, recipe):
                    await self._build(name, recipe, envelope)
                case request:
                    raise AssertionError(request)

    # --- reading ---

    def _newest(self) -> dict[str, ImageRecord]:
        records, quarantined = self._store.load_all()
        for error in quarantined.values():
            log.error("%s", error)
        newest: dict[str, ImageRecord] = {}
        for record in sorted(records.values(), key=lambda record: record.built_at):
            newest[record.name] = record
        return newest

    def _find(self, name: str) -> ImageRecord:
        record = self._newest().get(name)
        if record is None:
            raise NotFound(
                f"there is no image {name!r}",
                hint=f"'banger image build {name}' makes it, when there is a recipe",
            )
        return record

    def _list(self) -> list[ImageView]:
        return [self._view(record) for _, record in sorted(self._newest().items())]

    def _view(self, record: ImageRecord) -> ImageView:
        directory = self._store.directory(record.id)
        return ImageView(
            name=record.name,
            id=record.id,
            recipe=record.recipe,
            distribution=record.distribution,
            kernel_version=record.kernel_version,
            built_at=rfc3339(record.built_at),
            disk_bytes=record.root_bytes,
            allocated_bytes=_allocated_bytes(directory),
            vms=sorted(vm.name for vm in self._vms() if vm.image_id == record.id),
            path=str(directory),
        )

    # --- building ---

    async def _build(self, name: str, recipe: str, envelope: Envelope[ImageView]) -> None:
        if name in self._building:
            raise Conflict(f"image {name!r} is being built already", hint="wait for it to end")
        builder = self._find_builder(recipe)
        view: ImageView | None = None
        self._building.add(name)
        image_id = f"{name}-{secrets.token_hex(4)}"
        partial = self._store.root / f"{_BUILDING}{image_id}"
        try:
            async with cancelled_when_abandoned(envelope):
                try:
                    await run_blocking(lambda: partial.mkdir(parents=True, mode=0o755))
                    await self._run_builder(name, [str(builder), str(partial)], partial / LOG_NAME)
                    record = await run_blocking(self._publish, partial, image_id, name, recipe)
                    await run_blocking(self._remove_unused, record)
                except OSError as error:
                    raise HostNotReady(f"image {name!r} can't be built: {error}") from error
                view = await run_blocking(self._view, record)
        finally:
            with trio.CancelScope(shield=True):
                await run_blocking(lambda: shutil.rmtree(partial, ignore_errors=True))
            self._building.discard(name)
        if view is not None:
            envelope.reply(view)

    async def _run_builder(self, name: str, argv: list[str], log_path: Path) -> None:
        with log_path.open("wb") as log_file:
            process = await trio.lowlevel.open_process(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log_file,
                start_new_session=True,
                # What it leaves when it is killed goes with the rest of a failed build.
                env={**os.environ, **self._environment, "TMPDIR": str(log_path.parent)},
            )
        assert process.stdout is not None
        try:
            buffer = b""
            async for data in process.stdout:
                *lines, buffer = (buffer[-LINE_LIMIT_BYTES:] + data).split(b"\n")
                for line in lines:
                    text = line.decode(errors="replace")
                    step = text.removeprefix("step: ") if text.startswith("step: ") else ""
                    self._bus.publish(BuildProgress(name, step, text))
            await process.wait()
        finally:
            if process.returncode is None:
                with trio.CancelScope(shield=True):
                    await _end_group(process)
        if process.returncode != 0:
            said = await run_blocking(lambda: log_path.read_text(errors="replace"))
            log.error("building image %s failed:\n%s", name, said)
            # The last line names the step, the one before it what went wrong there.
            words = " / ".join(said.strip().splitlines()[-2:])
            raise CommandFailed(
                argv, process.returncode or 0, words, hint="the daemon's log has the whole output"
            )

    def _publish(self, partial: Path, image_id: str, name: str, recipe: str) -> ImageRecord:
        try:
            facts = msgspec.json.decode((partial / "build.json").read_bytes(), type=_BuildFacts)
            root_bytes = (partial / "root.ext4").stat().st_size
            # QEMU reads the kernel as a user of its own.
            (partial / "vmlinux").chmod(0o644)
        except (OSError, *BAD_BYTES) as error:
            raise CorruptRecord(f"the recipe {recipe!r} left no usable image: {error}") from None
        record = ImageRecord(
            id=image_id,
            name=name,
            recipe=recipe,
            built_at=time.time(),
            root_bytes=root_bytes,
            kernel_version=facts.kernel,
            distribution=facts.distribution,
        )
        os.sync()
        self._store.save(partial.name, record)
        partial.rename(self._store.directory(image_id))
        return record

    def _remove_unused(self, newest: ImageRecord) -> None:
        """Older builds of the name that no VM is based on."""
        used = {vm.image_id for vm in self._vms()}
        for image_id, record in self._store.load_all()[0].items():
            if record.name == newest.name and image_id not in used | {newest.id}:
                self._store.delete(image_id)

    def _sweep(self) -> None:
        """What builds left that a crash ended."""
        self._store.sweep()
        for partial in self._store.root.glob(f"{_BUILDING}*"):
            shutil.rmtree(partial, ignore_errors=True)


async def _end_group(process: trio.Process) -> None:
    """End the builder and all it started: first asked, so it cleans up, then made to."""
    pidfd = os.pidfd_open(process.pid)
    try:
        os.killpg(process.pid, signal.SIGTERM)
        with trio.move_on_after(STOP_DEADLINE_S):
            await trio.lowlevel.wait_readable(pidfd)
        # Until it is reaped, the group is surely still the builder's.
        os.killpg(process.pid, signal.SIGKILL)
    finally:
        os.close(pidfd)
    await process.wait()


def _allocated_bytes(directory: Path) -> int:
    """What the files take; 0 when a newer build has just replaced them."""
    try:
        return sum(file.stat().st_blocks * 512 for file in directory.iterdir())
    except FileNotFoundError:
        return 0
