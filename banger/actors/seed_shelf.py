"""The seeds on disk: finding, showing, retiring. Everything here blocks."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from banger.actors.image_catalog import allocated_bytes
from banger.host.seed_files import SeedFiles
from banger.kernel.store import RecordStore
from banger.model.clock import rfc3339
from banger.model.seed import RECORD_VERSION, PrunedSeed, SeedRecord, SeedView
from banger.model.vm import VmRecord

log = logging.getLogger(__name__)

UNUSED_S = 14 * 24 * 3600.0
"""A seed that no VM was made from for so long goes."""
_ASIDE = ".aside-"

KeyOf = Callable[[SeedRecord], str]
"""The key that the seed's order comes to today; "" when nothing can be made of it."""


def seed_store(root: Path) -> RecordStore[SeedRecord]:
    return RecordStore(root, SeedRecord, version=RECORD_VERSION, key_of=lambda seed: seed.id)


class Shelf:
    """Its methods may be called from several threads at once."""

    def __init__(
        self, store: RecordStore[SeedRecord], *, vms: Callable[[], Iterable[VmRecord]]
    ) -> None:
        self.store = store
        self._vms = vms
        self._changing = threading.RLock()

    def records(self) -> list[SeedRecord]:
        """The newest last."""
        records, _ = self.store.load_all()
        return sorted(records.values(), key=lambda record: record.made_at)

    def find(self, key: str) -> SeedRecord | None:
        """One that new VMs can begin in."""
        return next(
            (seed for seed in reversed(self.records()) if seed.key == key and self.is_whole(seed)),
            None,
        )

    def is_whole(self, seed: SeedRecord) -> bool:
        files = self.files(seed)
        disks = [files.root, *((files.work, files.work_base) if seed.order.drives else ())]
        return all(path.is_file() for path in (files.ram, files.state, *disks))

    def files(self, seed: SeedRecord) -> SeedFiles:
        return SeedFiles.of(self.store.directory(seed.id))

    def note_use(self, seed: SeedRecord) -> None:
        with contextlib.suppress(OSError):
            os.utime(self.files(seed).state)

    def view(self, seed: SeedRecord, key_of: KeyOf, loaded_bytes: int) -> SeedView:
        return SeedView(
            id=seed.id,
            image=seed.image,
            vcpus=seed.order.vcpus,
            memory_mib=seed.order.memory_mib,
            allocated_bytes=allocated_bytes(self.store.directory(seed.id)),
            loaded_bytes=loaded_bytes,
            made_at=rfc3339(seed.made_at),
            vms=self._users(seed.id),
            problem=self._why_useless(seed, key_of),
        )

    def retire(self, seed: SeedRecord) -> int:
        """Let no new VM begin in it, and remove it once no VM needs it; the bytes given back."""
        directory = self.store.directory(seed.id)
        with self._changing:
            before = allocated_bytes(directory)
            files = self.files(seed)
            files.state.unlink(missing_ok=True)
            files.ram.unlink(missing_ok=True)
            self._remove_if_unused(seed.id)
            return before - allocated_bytes(directory)

    def prune(self, key_of: KeyOf, *, dry_run: bool) -> list[PrunedSeed]:
        """Retire what is of no use any more."""
        pruned = []
        with self._changing:
            if not dry_run:
                self._remove_unreadable()
            for seed in self.records():
                reason = self._why_useless(seed, key_of)
                if not reason and self._unused_s(seed) > UNUSED_S:
                    reason = "not used for two weeks"
                if not reason:
                    continue
                if dry_run:
                    files = self.files(seed)
                    parts = [files.ram, files.state]
                    if not self._users(seed.id):
                        parts += [files.root, files.work, files.work_base]
                    size = sum(path.stat().st_blocks * 512 for path in parts if path.exists())
                else:
                    size = self.retire(seed)
                if size:
                    pruned.append(PrunedSeed(seed.id, seed.image, size, reason))
        return pruned

    def sweep(self) -> None:
        """What a crash left half removed."""
        self.store.sweep()
        for aside in self.store.root.glob(f"{_ASIDE}*"):
            aside.rename(aside.with_name(aside.name.removeprefix(_ASIDE)))

    def _why_useless(self, seed: SeedRecord, key_of: KeyOf) -> str:
        if not self.is_whole(seed):
            return "it is kept for its VMs' disks only"
        if key_of(seed) != seed.key:
            return "its image, the agent, the VMM or banger is another one now"
        return ""

    def _unused_s(self, seed: SeedRecord) -> float:
        with contextlib.suppress(OSError):
            return time.time() - self.files(seed).state.stat().st_mtime
        return 0.0

    def _users(self, seed_id: str) -> list[str]:
        return sorted(vm.name for vm in self._vms() if vm.seed == seed_id)

    def _remove_unreadable(self) -> None:
        """A cache may be made anew: what another version of banger wrote is of no use to us."""
        _, quarantined = self.store.load_all()
        for seed_id, error in quarantined.items():
            if not self._users(seed_id):
                log.warning("removing a seed: %s", error.message)
                self._remove_if_unused(seed_id)

    def _remove_if_unused(self, seed_id: str) -> None:
        if self._users(seed_id):
            return
        directory = self.store.directory(seed_id)
        aside = directory.with_name(f"{_ASIDE}{seed_id}")
        try:
            directory.rename(aside)
        except FileNotFoundError:
            return
        # A VM that was being made meanwhile has written its record by now, and is seen here; or
        # it will find the seed gone before it starts its VMM.
        if self._users(seed_id):
            aside.rename(directory)
            return
        aside.rename(directory.with_name(f".deleting-{seed_id}"))
        self.store.sweep()
