"""What is known of one VM: its record, the state it is in, its place in the network."""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec
import trio

from banger.actors.blocking import run_blocking
from banger.actors.services import Services
from banger.actors.tap_pool import LEASED_PREFIX, TapLease
from banger.actors.vm_seen import seen_by_hooks
from banger.capabilities.host import Vm
from banger.kernel.errors import HostNotReady
from banger.kernel.message import Event
from banger.model.events import VmStateChanged
from banger.model.vm import VmRecord, VmState

log = logging.getLogger(__name__)


class Standing:
    """``record`` is as on disk; ``state`` is what is true now and may be ahead of it."""

    def __init__(self, services: Services, record: VmRecord) -> None:
        self.record = record
        self.state = record.state
        self.reason = record.reason
        self.lease: TapLease | None = None
        self.notes: tuple[str, ...] = ()
        """What the guest that runs had to say when it started."""
        self.changed = trio.Event()
        """Set, and replaced by another, when state or record are others than before."""
        self._services = services

    @property
    def name(self) -> str:
        return self.record.name

    @property
    def directory(self) -> Path:
        return self._services.store.directory(self.record.name)

    @property
    def runtime(self) -> Path:
        """Where its VMM's sockets are."""
        return self._services.paths.vm_runtime / self.record.short_id

    @property
    def seen(self) -> Vm:
        """The VM as hooks see it."""
        return self.seen_as(self.record, self.lease)

    @property
    def seen_with_tap(self) -> Vm:
        """The same where it has a TAP, whether the pool could tell of it or not."""
        return msgspec.structs.replace(self.seen, tap=LEASED_PREFIX + self.record.short_id)

    def seen_as(self, record: VmRecord, lease: TapLease | None) -> Vm:
        return seen_by_hooks(
            record, lease, state=self.state, directory=self.directory, paths=self._services.paths
        )

    def enter(self, state: VmState, reason: str = "") -> None:
        self.state = state
        self.reason = reason
        self.publish(VmStateChanged(self.name, state, reason))
        self._pulse()

    async def save(self, **changes: object) -> None:
        self.record = msgspec.structs.replace(self.record, **changes)
        self._pulse()
        await run_blocking(self._services.store.save, self.name, self.record)

    async def note(self, **changes: object) -> None:
        """Save what recovery would find out without it, so a full disk stops no one."""
        try:
            await self.save(**changes)
        except HostNotReady as error:
            log.error("VM %s: %s", self.name, error)  # noqa: TRY400 - no bug to be traced

    def _pulse(self) -> None:
        self.changed.set()
        self.changed = trio.Event()

    def publish(self, event: Event) -> None:
        self._services.bus.publish(event)
