"""The images on disk: finding, showing, renaming, removing. Everything here blocks."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import msgspec

from banger.host.image_files import ImageFiles, problem_of
from banger.kernel.errors import Conflict, NotFound
from banger.kernel.store import RecordStore, write_durably
from banger.model.clock import rfc3339
from banger.model.image import (
    DefaultImage,
    ImageRecord,
    ImageState,
    ImageView,
    Pruned,
    PrunedImage,
    RunningBuild,
)
from banger.model.names import check_name
from banger.model.vm import VmRecord

log = logging.getLogger(__name__)

DEFAULT_FILE = "default-image"
LOGS = "image-logs"


class Catalog:
    """Its methods may be called from several threads at once."""

    def __init__(
        self,
        store: RecordStore[ImageRecord],
        *,
        vms: Callable[[], Iterable[VmRecord]],
        state: Path,
        preset: str,
    ) -> None:
        """``vms()`` reads the records of all VMs; ``state`` is the state directory; ``preset``
        the default image where none was chosen by command."""
        self.store = store
        self._vms = vms
        self._state = state
        self._preset = preset
        self.changing = threading.RLock()
        """Held by whoever changes what there is."""

    # --- reading ---

    def records(self, name: str | None = None) -> list[ImageRecord]:
        """All, or those of a name; the newest last."""
        records, quarantined = self.store.load_all()
        for error in quarantined.values():
            log.error("%s", error)
        chosen = (record for record in records.values() if name in (None, record.name))
        return sorted(chosen, key=lambda record: record.built_at)

    def newest(self) -> dict[str, ImageRecord]:
        return {record.name: record for record in self.records()}

    def find(self, name: str | None) -> ImageRecord:
        """The newest of that name; None: of the default. Raises `NotFound`."""
        wanted = self.default().name if name is None else name
        records = self.records(wanted)
        if not records:
            raise NotFound(
                f"there is no image {wanted!r}",
                hint=f"'banger image build {wanted}' makes it, when there is a recipe",
            )
        return records[-1]

    def view(self, record: ImageRecord, building: RunningBuild | None = None) -> ImageView:
        return self._view(record, self.default().name, list(self._vms()), building)

    def views(self, building: Mapping[str, RunningBuild]) -> list[ImageView]:
        default, vms, newest = self.default().name, list(self._vms()), self.newest()
        views = [
            self._view(record, default, vms, building.get(name)) for name, record in newest.items()
        ]
        views += [
            _unfinished(name, build, default)
            for name, build in building.items()
            if name not in newest
        ]
        return sorted(views, key=lambda view: view.name)

    def _view(
        self,
        record: ImageRecord,
        default: str,
        vms: list[VmRecord],
        building: RunningBuild | None,
    ) -> ImageView:
        directory, registered = self.store.directory(record.id), record.registered
        files = ImageFiles.of(directory, registered)
        problem = problem_of(directory, record)
        foreign = _allocated(files.root) if registered else 0
        return ImageView(
            name=record.name,
            id=record.id,
            recipe=record.recipe,
            distribution=record.distribution,
            kernel_version=record.kernel_version,
            built_at=rfc3339(record.built_at),
            disk_bytes=record.root_bytes,
            allocated_bytes=allocated_bytes(directory) + foreign,
            vms=sorted(vm.name for vm in vms if vm.image_id == record.id),
            path=str(directory),
            state=ImageState.UNUSABLE if problem else ImageState.READY,
            problem=problem,
            default=record.name == default,
            managed=registered is None,
            source=_source(record),
            key=record.key,
            work_seed=files.work_seed is not None,
            building=building,
            imported=record.imported,
            init=record.init,
            process=record.process,
        )

    def vm(self, name: str) -> VmRecord:
        """The record of a VM. Raises `NotFound`."""
        for vm in self._vms():
            if vm.name == name:
                return vm
        raise NotFound(f"there is no VM {name!r}", hint="'banger vm list' shows those there are")

    # --- the default ---

    def default(self) -> DefaultImage:
        """Raises `UsageError` for a setting that is no name."""
        try:
            chosen = (self._state / DEFAULT_FILE).read_text().strip()
        except (OSError, UnicodeDecodeError):
            chosen = ""
        name = chosen or check_name("image", self._preset)
        exists = bool(self.records(name))
        return DefaultImage(name, "command" if chosen else "setting", exists)

    def set_default(self, name: str | None) -> DefaultImage:
        """None goes back to the preset. Raises `NotFound`."""
        with self.changing:
            if name is None:
                (self._state / DEFAULT_FILE).unlink(missing_ok=True)
            else:
                self.find(name)
                write_durably(self._state / DEFAULT_FILE, f"{name}\n".encode())
            return self.default()

    # --- changing ---

    def publish(self, partial: Path, record: ImageRecord) -> None:
        """Make a finished directory the image; older ones of the name without VMs go."""
        with self.changing:
            self.store.save(partial.name, record)
            partial.rename(self.store.directory(record.id))
            for older in self.records(record.name)[:-1]:
                self._remove_if_unused(older)

    def delete(self, name: str) -> None:
        """All builds of the name; of a registered image only what banger noted.

        Raises `NotFound`, and `Conflict` while VMs use it: then nothing has changed.
        """
        with self.changing:
            self.find(name)
            records = self.records(name)
            self._refuse_used(name, records)
            for record in records:
                if not self._remove_if_unused(record):
                    self._refuse_used(name, [record])
            if self._chosen() == name:
                self.set_default(None)
            (self._state / LOGS / f"{name}.log").unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # others are there, or it never was
                (self._state / LOGS).rmdir()

    def rename(self, old: str, new: str) -> ImageRecord:
        """Raises `NotFound`, and `Conflict` for a name that is taken."""
        with self.changing:
            self.find(old)
            if self.records(new):
                raise Conflict(
                    f"image {new!r} exists already",
                    hint=f"choose another name, or 'banger image delete {new}' first",
                )
            # The newest last: until it is renamed, its old name stays good for new VMs.
            for record in self.records(old):
                renamed = msgspec.structs.replace(record, name=new)
                self.store.save(record.id, renamed)
            if self._chosen() == old:
                self.set_default(new)
            logs = self._state / LOGS
            if (logs / f"{old}.log").exists():
                (logs / f"{old}.log").replace(logs / f"{new}.log")
            return self.find(new)

    def prune(self, *, dry_run: bool) -> Pruned:
        """Remove what no VM uses and is not the newest of its name."""
        removed = []
        with self.changing:
            newest = {record.id for record in self.newest().values()}
            used = {vm.image_id for vm in self._vms()}
            for record in self.records():
                size = allocated_bytes(self.store.directory(record.id))
                if record.id in newest | used:
                    continue
                if dry_run or self._remove_if_unused(record):
                    removed.append(PrunedImage(record.name, record.id, size))
        return Pruned(removed, sum(image.bytes for image in removed), dry_run)

    def _chosen(self) -> str:
        default = self.default()
        return default.name if default.origin == "command" else ""

    def _remove_if_unused(self, record: ImageRecord) -> bool:
        if self._users([record]):
            return False
        directory = self.store.directory(record.id)
        aside = directory.with_name(f".aside-{record.id}")
        directory.rename(aside)
        # A VM that was being made meanwhile has written its record by now, and is seen here;
        # or it will find the image gone before it makes a disk.
        if self._users([record]):
            aside.rename(directory)
            return False
        aside.rename(directory.with_name(f".deleting-{record.id}"))
        self.store.sweep()
        return True

    def _users(self, records: Iterable[ImageRecord]) -> list[str]:
        ids = {record.id for record in records}
        return sorted(vm.name for vm in self._vms() if vm.image_id in ids)

    def _refuse_used(self, name: str, records: Iterable[ImageRecord]) -> None:
        users = self._users(records)
        if users:
            raise Conflict(
                f"image {name!r} is used by {len(users)} VMs: {', '.join(users)}",
                hint=f"'banger vm delete {' '.join(users)}' first",
            )

    def put_back(self) -> None:
        """What a crash left set aside: nobody has decided to remove it."""
        for aside in self.store.root.glob(".aside-*"):
            directory = aside.with_name(aside.name.removeprefix(".aside-"))
            if directory.exists():
                shutil.rmtree(aside)
            else:
                aside.rename(directory)


def allocated_bytes(directory: Path) -> int:
    """What the files below take; those that go meanwhile do not count."""
    return sum(
        _allocated(Path(parent, name)) for parent, _, names in os.walk(directory) for name in names
    )


def _allocated(path: Path) -> int:
    try:
        return path.stat(follow_symlinks=False).st_blocks * 512
    except OSError:
        return 0


def _source(record: ImageRecord) -> str:
    if record.registered is not None:
        return record.registered.root.path
    return record.imported.path if record.imported is not None else record.recipe


def _unfinished(name: str, build: RunningBuild, default: str) -> ImageView:
    return ImageView(
        name=name,
        id="",
        recipe=build.recipe,
        distribution="",
        kernel_version="",
        built_at="",
        disk_bytes=0,
        allocated_bytes=build.written_bytes,
        vms=[],
        path="",
        state=ImageState.BUILDING,
        default=name == default,
        source=build.recipe,
        building=build,
    )
