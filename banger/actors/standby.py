"""A standby VM: a guest restored from a seed, with an address and no name, that stands still.

What is asked of the pool of them, and what a creation gets from it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from banger.actors.seeds import Seed
from banger.actors.tap_pool import TapLease
from banger.capabilities.hooks import Undo
from banger.guest.link import AgentLink
from banger.kernel.message import Request
from banger.kernel.store import RECORD, RecordStore
from banger.model.guest import GuestConfig
from banger.model.vm import VmRecord, VmSpec
from banger.vmm.base import Machine


class StandbyKind(msgspec.Struct, frozen=True):
    """What a standby VM must have in common with the VM it becomes."""

    image_id: str
    spec: VmSpec
    work: tuple[tuple[str, Any], ...]
    """The options of the capability ``work``: its disk can't change while the VMM has it open."""

    @classmethod
    def of(cls, record: VmRecord) -> StandbyKind:
        work = record.options.get("work", {})
        return cls(record.image_id, record.spec, tuple(sorted(work.items())))


class Standby(msgspec.Struct, frozen=True):
    """Of its own: no one else holds the machine, the link or the files any more."""

    record: VmRecord
    """Under the name that it has in the pool."""
    machine: Machine
    link: AgentLink
    lease: TapLease
    seed: Seed
    told: GuestConfig
    """What its guest has been told."""
    undo: list[Undo]
    """What hooks have made for it."""
    store: RecordStore[VmRecord]

    def become(self, record: VmRecord) -> VmRecord:
        """The record of a VM about to be created, as it is when it becomes this one."""
        had = self.record
        return msgspec.structs.replace(
            record,
            id=had.id,
            address=had.address,
            mac=had.mac,
            seed=had.seed,
            seed_work=had.seed_work,
            process=had.process,
        )

    def move_files(self, directory: Path) -> None:
        """Into the directory of the VM that it becomes, whose own record tells of it already; then
        the pool's goes. Blocks."""
        own = self.store.directory(self.record.name)
        for path in own.iterdir():
            if path.name != RECORD:
                path.rename(directory / path.name)
        self.forget()

    def forget(self) -> None:
        """Remove what is left of it in the pool's directory. Idempotent. Blocks."""
        self.store.delete(self.record.name)


class TakeStandby(Request[Standby | None], frozen=True):
    """One of this kind, now or not at all. The asker must not be cancelled meanwhile."""

    kind: StandbyKind


class WantStandby(Request[None], frozen=True):
    """VMs of this kind are being created, so some should be kept ready; nobody waits for it."""

    kind: StandbyKind


class AwaitStandby(Request[int], frozen=True):
    """Returns when no more standby VMs are to come; how many there are."""


class ListStandby(Request[list[VmRecord]], frozen=True):
    """Those that are ready."""
