"""Which VMs there are, for telling what belongs to none of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from banger.actors.fleet import ListVms
from banger.kernel.actor import Ref
from banger.kernel.errors import CorruptRecord
from banger.kernel.store import RecordStore
from banger.model.vm import VmRecord, VmState

T = TypeVar("T")

_WITHOUT_VMM = (VmState.STOPPED, VmState.SUSPENDED, VmState.CRASHED)


class Known(msgspec.Struct, frozen=True):
    """The VMs of two looks at the records.

    What was seen between the two belongs to a VM of either: a VM being made has its record
    before anything else, one being deleted has it until all else is gone.
    """

    names: dict[str, str]
    """By VM id."""
    idle: frozenset[str]
    """Ids of those that had no VMM at both looks: neither sockets nor a TAP are theirs."""
    quarantined: frozenset[str]
    """Names of VMs whose records can't be read; what is theirs can't be told for sure."""

    def name_of(self, short_id: str) -> str | None:
        """The name of the VM whose id begins so."""
        return next((name for vm, name in self.names.items() if vm[:8] == short_id), None)

    def is_idle(self, short_id: str) -> bool:
        return any(vm[:8] == short_id for vm in self.idle)

    @property
    def complete(self) -> bool:
        """Whether nothing can belong to a VM that is not in `names`."""
        return not self.quarantined


def seen_between(stores: Sequence[RecordStore[VmRecord]], look: Callable[[], T]) -> tuple[Known, T]:
    """Read the records, look at the machine, read the records again. Blocks."""
    before, quarantined_before = _load(stores)
    seen = look()
    after, quarantined_after = _load(stores)
    names = {record.id: name for name, record in (before | after).items()}
    idle = [
        {record.id for record in records.values() if record.state in _WITHOUT_VMM}
        for records in (before, after)
    ]
    quarantined = frozenset(quarantined_before.keys() & quarantined_after.keys())
    return Known(names, frozenset(idle[0] & idle[1]), quarantined), seen


def _load(
    stores: Sequence[RecordStore[VmRecord]],
) -> tuple[dict[str, VmRecord], dict[str, CorruptRecord]]:
    records: dict[str, VmRecord] = {}
    quarantined: dict[str, CorruptRecord] = {}
    for store in stores:
        found, unreadable = store.load_all()
        records |= found
        quarantined |= unreadable
    return records, quarantined


async def coming_and_going(fleet: Ref) -> set[str]:
    """Names of VMs being made or removed. What was seen of their directories before this was
    asked may be half a VM: an actor is there before its directory, and until that has gone."""
    views = await fleet.ask(ListVms())
    return {view.name for view in views if view.state in (VmState.CREATING, VmState.DELETING)}
