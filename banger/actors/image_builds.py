"""Builds under way: one a name, all or nothing, and nobody left running.

A build fills a directory of its own, which becomes the image by one rename when it is
complete. It holds a lock that its builder inherits, so that no second daemon starts the
same build, and the next one knows what a killed one left.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import trio

from banger.actors import image_orphans
from banger.actors.blocking import run_blocking
from banger.actors.image_catalog import LOGS, Catalog, allocated_bytes
from banger.actors.image_orphans import BUILDING, BuildNote, lock_path
from banger.actors.image_recipe import make_work
from banger.actors.image_work import Work
from banger.host import assets, file_lock, process
from banger.host.file_lock import FileLock
from banger.host.image_files import KERNEL, MODULES, ROOT, problem_of
from banger.kernel.actor import sole_declared_error
from banger.kernel.bus import Bus
from banger.kernel.errors import (
    BangerError,
    Conflict,
    CorruptRecord,
    HostNotReady,
    NotFound,
)
from banger.kernel.wire import BAD_BYTES
from banger.model.build import BuildOptions
from banger.model.clock import rfc3339
from banger.model.events import BuildProgress
from banger.model.image import BuildOutcome, ImageRecord, RunningBuild

log = logging.getLogger(__name__)

LOG_NAME = "build.log"
LOG_LIMIT_BYTES = 4 << 20
"""How much of the end of a log is kept of a failed build, and shown."""
STOP_DEADLINE_S = 1.5
LINE_LIMIT_BYTES = 4096
MEASURE_EVERY_S = 2.0


class _BuildFacts(msgspec.Struct, frozen=True):
    """What a recipe's build.json must say; it may say more."""

    kernel: str
    distribution: str


class _Build:
    """One under way."""

    def __init__(self, name: str, work: Work, directory: Path) -> None:
        self.name = name
        self.work = work
        self.directory = directory
        self.step = "start"
        self.written_bytes = 0
        self.scope = trio.CancelScope()
        self.finished = trio.Event()
        self.since = time.time()
        self._begun = trio.current_time()

    @property
    def log_path(self) -> Path:
        return self.directory / LOG_NAME

    @property
    def seen(self) -> RunningBuild:
        return RunningBuild(
            recipe=self.work.label,
            since=rfc3339(self.since),
            elapsed_s=trio.current_time() - self._begun,
            step=self.step,
            written_bytes=self.written_bytes,
        )


class Builds:
    def __init__(
        self,
        catalog: Catalog,
        bus: Bus,
        *,
        find_builder: Callable[[str], Path],
        environment: Mapping[str, str],
        logs: Path,
    ) -> None:
        """``find_builder`` knows the recipes, which run with ``environment`` added to the
        daemon's own; ``logs`` gets those of failed builds."""
        self._catalog = catalog
        self._bus = bus
        self._find_builder = find_builder
        self._environment = dict(environment)
        self._logs = logs / LOGS
        self._running: dict[str, _Build] = {}

    @property
    def running(self) -> dict[str, RunningBuild]:
        return {name: build.seen for name, build in self._running.items()}

    def refuse_while_building(self, *names: str) -> None:
        """Raise `Conflict` when a build of one of these names is under way."""
        for build in filter(None, map(self._running.get, names)):
            raise Conflict(
                f"image {build.name!r} is being built since {rfc3339(build.since)}, "
                f"now at {build.step!r}",
                hint=f"wait for its end, or 'banger image cancel {build.name}'",
            )

    async def build(
        self, name: str, recipe: str, *, force: bool, options: BuildOptions
    ) -> BuildOutcome:
        """As `do`, with a recipe; raises `UsageError` and `NotFound` for what is wrong in it."""
        work = await run_blocking(
            make_work,
            self._catalog,
            self._find_builder,
            self._environment,
            recipe,
            options,
            self._logs.parent / "vms",
        )
        return await self.do(name, work, force=force)

    async def do(self, name: str, work: Work, *, force: bool) -> BuildOutcome:
        """Nothing is built when the newest build is of the same inputs, unless ``force``.

        Cancelled, it ends its builder and leaves nothing. Raises `Conflict`, `HostNotReady`,
        `CorruptRecord`, and BangerError when somebody else has cancelled it.
        """
        self.refuse_while_building(name)
        image_id = f"{name}-{secrets.token_hex(4)}"
        build = _Build(name, work, self._catalog.store.root / f"{BUILDING}{image_id}")
        self._running[name] = build
        outcome: BuildOutcome | None = None
        try:
            with build.scope:
                try:
                    outcome = await self._build(build, image_id, force=force)
                except OSError as error:
                    raise HostNotReady(f"image {name!r} can't be built: {error}") from error
        finally:
            del self._running[name]
            build.finished.set()
        if outcome is None:
            raise BangerError(f"the build of image {name!r} was cancelled")
        return outcome

    async def cancel(self, name: str) -> None:
        """End a build; returns when nothing of it is left. Raises `NotFound`."""
        build = self._running.get(name)
        if build is None:
            raise NotFound(
                f"no build of image {name!r} is under way", hint="'banger image list' shows them"
            )
        build.scope.cancel()
        await build.finished.wait()

    def log_of(self, name: str, *, failed: bool) -> Callable[[], bytes]:
        """Reads a log, blocking: that of the running build, else of the last one.

        ``failed``: of the last one that failed. It raises `NotFound`.
        """
        build, catalog = self._running.get(name), self._catalog
        kept = self._logs / f"{name}.log"

        def read() -> bytes:
            if build is not None and not failed:
                return _tail(build.log_path)
            records = [record for record in catalog.records(name) if not record.registered]
            built = catalog.store.directory(records[-1].id) / LOG_NAME if records else None
            if kept.exists() and (
                failed or not records or kept.stat().st_mtime > records[-1].built_at
            ):
                return _tail(kept)
            if failed or built is None or not built.exists():
                what = "no build has failed" if failed else "there was no build"
                raise NotFound(f"{what} of an image {name!r}", hint="'banger image list'")
            return _tail(built)

        return read

    async def _build(self, build: _Build, image_id: str, *, force: bool) -> BuildOutcome:
        catalog, name = self._catalog, build.name
        known = (await run_blocking(catalog.newest)).get(name)
        work = build.work
        work.check(known)
        key = await run_blocking(work.key)
        if known is not None and key and known.key == key and not force:
            problem = await run_blocking(problem_of, catalog.store.directory(known.id), known)
            if not problem:
                return BuildOutcome(await run_blocking(catalog.view, known), False)
        lock = await run_blocking(self._lock, build)
        done = False
        try:
            await run_blocking(lambda: build.directory.mkdir(mode=0o755))
            try:
                await run_blocking(work.prepare, build.directory)
                await self._run_builder(build, work.argv(build.directory), lock)
                record = await run_blocking(self._publish, build, image_id, key)
                done = True
            except BaseException as error:
                with trio.CancelScope(shield=True):
                    await run_blocking(self._keep_log, build, error)
                raise
        finally:
            with trio.CancelScope(shield=True):
                await run_blocking(lambda: shutil.rmtree(build.directory, ignore_errors=True))
            lock.release()
        assert done
        return BuildOutcome(await run_blocking(catalog.view, record), True)

    def _lock(self, build: _Build) -> FileLock:
        path = lock_path(self._catalog.store.root, build.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = file_lock.take(path)
        if lock is None:
            note = image_orphans.read_note(path)
            since = f" since {note.since}" if note else ""
            raise Conflict(
                f"image {build.name!r} is being built{since} by another daemon, or by a "
                "builder that one has left",
                hint="wait for its end; a daemon that starts ends what no other one waits for",
            )
        self._note(build, lock, None)
        return lock

    def _note(self, build: _Build, lock: FileLock, builder: int | None) -> None:
        daemon = process.identify(os.getpid())
        assert daemon is not None
        started = process.identify(builder) if builder is not None else None
        note = BuildNote(build.directory.name, rfc3339(build.since), daemon, started)
        lock.note(msgspec.json.encode(note))

    async def _run_builder(self, build: _Build, argv: list[str], lock: FileLock) -> None:
        with build.log_path.open("ab", buffering=0) as log_file:
            builder = await trio.lowlevel.open_process(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log_file,
                start_new_session=True,
                pass_fds=[lock.fd],
                # What it leaves when it is killed goes with the rest of a failed build.
                env={
                    **os.environ,
                    **self._environment,
                    "TMPDIR": str(build.directory),
                    "BANGER_WORK_SEED": str(assets.work_seed_program()),
                },
            )
            try:
                self._note(build, lock, builder.pid)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._measure, build)
                    await self._follow(build, builder, log_file.write)
                    await builder.wait()
                    nursery.cancel_scope.cancel()
            finally:
                if builder.returncode is None:
                    with trio.CancelScope(shield=True):
                        await _end_group(builder)
        if builder.returncode != 0:
            said = (await run_blocking(_tail, build.log_path)).decode(errors="replace")
            # The last line names the step, the one before it what went wrong there.
            words = " / ".join(_without_steps(said)[-2:])
            log.error("building image %s failed: %s", build.name, words)
            hint = f"'banger image log {build.name}' shows all it said"
            raise build.work.failure(build.directory, argv, builder.returncode or 0, words, hint)

    async def _follow(
        self, build: _Build, builder: trio.Process, write: Callable[[bytes], object]
    ) -> None:
        """Tell of the lines on the builder's stdout, until it closes that."""
        assert builder.stdout is not None
        buffer = b""
        async for data in builder.stdout:
            *lines, buffer = (buffer[-LINE_LIMIT_BYTES:] + data).split(b"\n")
            for line in lines:
                text = line.decode(errors="replace")
                step = text.removeprefix("step: ") if text.startswith("step: ") else ""
                build.step = step or build.step
                write(line + b"\n")
                self._bus.publish(BuildProgress(build.name, step, text, build.written_bytes))

    async def _measure(self, build: _Build) -> None:
        while True:
            await trio.sleep(MEASURE_EVERY_S)
            build.written_bytes = await run_blocking(allocated_bytes, build.directory)
            self._bus.publish(BuildProgress(build.name, "", "", build.written_bytes))

    def _publish(self, build: _Build, image_id: str, key: str) -> ImageRecord:
        partial = build.directory
        try:
            facts = msgspec.json.decode((partial / "build.json").read_bytes(), type=_BuildFacts)
            root_bytes = (partial / ROOT).stat().st_size
            (partial / MODULES).stat()
            # QEMU reads the kernel as a user of its own.
            (partial / KERNEL).chmod(0o644)
        except (OSError, *BAD_BYTES) as error:
            raise CorruptRecord(
                f"the recipe {build.work.label!r} left no usable image: {error}"
            ) from None
        record = ImageRecord(
            id=image_id,
            name=build.name,
            recipe="",
            built_at=time.time(),
            root_bytes=root_bytes,
            kernel_version=facts.kernel,
            distribution=facts.distribution,
            key=key,
        )
        record = build.work.describe(partial, record)
        os.sync()
        self._catalog.publish(partial, record)
        return record

    def _keep_log(self, build: _Build, error: BaseException) -> None:
        declared = sole_declared_error(error)
        unexpected = repr(error) if isinstance(error, Exception) else "cancelled"
        reason = declared.message if declared is not None else unexpected
        try:
            said = _tail(build.log_path)
            # First of all, for the disk may be full of it.
            shutil.rmtree(build.directory, ignore_errors=True)
            self._logs.mkdir(mode=0o700, exist_ok=True)
            last = f"banger: {rfc3339(time.time())}: {reason}\n".encode(errors="replace")
            (self._logs / f"{build.name}.log").write_bytes(said + last)
        except (OSError, NotFound) as lost:
            log.warning("the log of the build of %s is lost: %s", build.name, lost)


async def _end_group(builder: trio.Process) -> None:
    """End the builder and all it started: first asked, so it cleans up, then made to."""
    pidfd = os.pidfd_open(builder.pid)
    try:
        os.killpg(builder.pid, signal.SIGTERM)
        with trio.move_on_after(STOP_DEADLINE_S):
            await trio.lowlevel.wait_readable(pidfd)
        # Until it is reaped, the group is surely still the builder's.
        os.killpg(builder.pid, signal.SIGKILL)
    finally:
        os.close(pidfd)
    await builder.wait()


def _without_steps(said: str) -> list[str]:
    return [line for line in said.strip().splitlines() if not line.startswith("step: ")]


def _tail(path: Path) -> bytes:
    """The end of a log. Raises `NotFound` when there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - LOG_LIMIT_BYTES))
            return file.read()
    except FileNotFoundError:
        raise NotFound(f"{path} is missing") from None
