"""The standby pool: guests restored, with an address, standing still, for creations to take.

For each kind of VM that is being created it keeps a few ready, and makes others in the background
when one was taken. They are the pool's own, like idle TAPs: ended with the daemon, and by the next
one when it was killed. Nothing here ever fails a creation.
"""

from __future__ import annotations

import dataclasses
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec
import trio

from banger.actors.blocking import run_blocking
from banger.actors.bring_up import BringUp
from banger.actors.console import Console
from banger.actors.services import Services
from banger.actors.standby import (
    AwaitStandby,
    ListStandby,
    Standby,
    StandbyKind,
    TakeStandby,
    WantStandby,
)
from banger.actors.tap_pool import LEASED_PREFIX, ReleaseAddress, ReleaseTap, TapLease
from banger.actors.vm_seen import seen_by_hooks
from banger.actors.vmm_watch import VmmWatch
from banger.capabilities.hooks import Hooks
from banger.capabilities.host import Vm
from banger.guest.exec import capture
from banger.host.process_usage import cpu_seconds
from banger.kernel.actor import Actor, Envelope, Inbox, sole_declared_error
from banger.kernel.errors import BangerError, CommandNotFound, TimedOut
from banger.kernel.stages import run_stages, undo_stages
from banger.kernel.store import RecordStore
from banger.model.events import StandbyGivenBack
from banger.model.process import ProcessIdentity
from banger.model.requests.exec import Exec
from banger.model.vm import VmRecord, VmState
from banger.vmm.base import Machine

log = logging.getLogger(__name__)

KINDS_MAX = 4
UNUSED_S = 3600.0
"""How long after the last creation of a kind some are kept ready for it."""
REFILL_AFTER_S = 0.5
"""Whoever has just taken one needs the CPU more."""
RETRY_S = 60.0
"""After the host was short of memory."""
DIED_PAUSE_S = 10.0
"""After one has ended by itself: should that be what they do, they must not keep the host busy."""
LOOK_EVERY_S = 5.0
WARM_UP_RUNS = 4
SETTLE_DEADLINE_S = 15.0
SETTLE_STEP_S = 0.5
SETTLED_SHARE = 0.06
"""Of a CPU: what a guest that waits for something to do takes at most."""


class _Kind:
    """A kind of VM that is being created."""

    def __init__(self) -> None:
        self.used_at = trio.current_time()
        self.not_before = 0.0
        self.ready: list[_Ready] = []
        """The oldest first."""
        self.keepers = 0
        """Tasks that make one, or hold it."""


class _Ready:
    """``over`` is set when it is taken, given back, or has ended by itself."""

    def __init__(self, up: BringUp, watch: VmmWatch, over: trio.Event) -> None:
        self.up = up
        self.watch = watch
        self.over = over
        self.taken = False


class StandbyPool(Actor):
    name = "standby"

    def __init__(
        self,
        services: Services,
        store: RecordStore[VmRecord],
        *,
        size: int,
        pressure: Callable[[], str],
    ) -> None:
        """``store`` is for the pool's own records; ``size`` is how many of a kind, 0: none.

        ``pressure()`` says why the host is short of memory, "" when it is not; it blocks."""
        self._services = dataclasses.replace(services, store=store)
        self._store = store
        self._size = size
        self._pressure = pressure
        self._kinds: dict[StandbyKind, _Kind] = {}
        """Those used last at the end."""
        self._making = trio.Lock()
        """One at a time: they are to be in nobody's way."""
        self._changed = trio.Event()

    async def run(self, inbox: Inbox) -> None:
        await self._sweep()
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._keep_house)
            async for envelope in inbox:
                nursery.start_soon(self._answer, envelope)

    async def _answer(self, envelope: Envelope[Any]) -> None:
        with envelope:
            match envelope.request:
                case TakeStandby(kind):
                    await self._take(kind, envelope)
                case WantStandby(kind):
                    self._want(kind)
                    envelope.reply(None)
                case AwaitStandby():
                    while not self._complete:
                        await self._changed.wait()
                    envelope.reply(sum(len(kind.ready) for kind in self._kinds.values()))
                case ListStandby():
                    envelope.reply([one.up.record for one in self._all_ready()])
                case request:
                    raise AssertionError(request)

    @property
    def _complete(self) -> bool:
        """No more are to come, as far as is known now."""
        now = trio.current_time()
        return all(
            len(kind.ready) >= self._size or kind.not_before > now for kind in self._kinds.values()
        )

    def _all_ready(self) -> list[_Ready]:
        return [one for kind in self._kinds.values() for one in kind.ready]

    def _pulse(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    # --- taking ---

    async def _take(self, key: StandbyKind, envelope: Envelope[Standby | None]) -> None:
        kind = self._kinds.get(key)
        if kind is None or not kind.ready:
            envelope.reply(None)
            return
        one = kind.ready.pop(0)
        one.taken = True
        one.over.set()
        # The VM will watch its VMM, and there is room for one.
        await one.watch.unwatched.wait()
        up = one.up
        assert up.guest.machine and up.guest.link and up.lease and up.seed
        envelope.reply(
            Standby(
                record=up.record,
                machine=up.guest.machine,
                link=up.guest.link,
                lease=up.lease,
                seed=up.seed,
                told=up.plan.config,
                undo=up.undo,
                store=self._store,
            )
        )

    # --- making ---

    def _want(self, key: StandbyKind) -> None:
        if not self._size:
            return
        kind = self._kinds.pop(key, None) or _Kind()
        kind.used_at = trio.current_time()
        self._kinds[key] = kind
        while len(self._kinds) > KINDS_MAX:
            self._forget(next(iter(self._kinds)))
        self._fill()

    def _fill(self) -> None:
        now = trio.current_time()
        for key, kind in self._kinds.items():
            while kind.keepers < self._size and kind.not_before <= now:
                kind.keepers += 1
                self._nursery.start_soon(self._keep_one, key, kind)

    def _forget(self, key: StandbyKind) -> None:
        for one in self._kinds.pop(key).ready:
            one.over.set()
        self._pulse()

    async def _keep_one(self, key: StandbyKind, kind: _Kind) -> None:
        """Make one, and end it again unless it was taken."""
        failure: BangerError | None = None
        try:
            await trio.sleep(REFILL_AFTER_S)
            async with self._made(key) as one:
                if self._kinds.get(key) is kind:  # and was not forgotten meanwhile
                    await self._hold(one, kind)
        except Exception as error:
            failure = sole_declared_error(error)
            if failure is None:
                raise
        kind.keepers -= 1
        if failure is not None:
            # It is tried again when such a VM is created the next time.
            log.warning("no standby VM of image %s: %s", key.spec.image, failure)
            if self._kinds.get(key) is kind:
                self._forget(key)
        self._fill()
        self._pulse()

    async def _hold(self, one: _Ready, kind: _Kind) -> None:
        """Keep it ready until it is over."""
        kind.ready.append(one)
        self._pulse()
        try:
            await one.over.wait()
        finally:
            if not one.taken:
                kind.ready.remove(one)
        if one.watch.ended.is_set():
            log.warning("the standby VM %s has ended by itself", one.up.record.name)
            kind.not_before = trio.current_time() + DIED_PAUSE_S

    @asynccontextmanager
    async def _made(self, key: StandbyKind) -> AsyncIterator[_Ready]:
        """A guest that stands ready while the body runs, which may give it away.

        Raises what the stages raise, in a group.
        """
        record = self._record(key)
        watch = VmmWatch(Console(self._store.directory(record.name)))
        async with trio.open_nursery() as nursery:
            over = trio.Event()

            async def attend(
                machine: Machine, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
            ) -> None:
                await watch.attend(machine, over.set, task_status=task_status)
                over.set()

            up = BringUp(
                self._services,
                record,
                hooks=Hooks(self._services.capabilities, _ignore_progress, nameless=True),
                seen=self._seen,
                attend=lambda machine: nursery.start(attend, machine),
                vmm=watch,
            )
            one = _Ready(up, watch, over)
            stages = up.standby_stages()
            async with self._making:
                await self._services.recovered.wait()
                await run_stages(stages, None, started=_ignore, finished=_ignore)
            try:
                await _settle(up)
                yield one
            finally:
                if not one.taken:
                    await undo_stages(stages, None)
                nursery.cancel_scope.cancel()

    def _record(self, key: StandbyKind) -> VmRecord:
        machine_id = secrets.token_hex(16)
        return VmRecord(
            id=machine_id,
            name=f"standby-{machine_id[:8]}",
            spec=key.spec,
            image_id=key.image_id,
            state=VmState.CREATING,
            created_at=time.time(),
            address="",
            mac="",
            driver=self._services.driver.name,
            options=self._services.capabilities.decide({"work": dict(key.work)}),
        )

    def _seen(self, record: VmRecord, lease: TapLease | None) -> Vm:
        return seen_by_hooks(
            record,
            lease,
            state=record.state,
            directory=self._store.directory(record.name),
            paths=self._services.paths,
        )

    # --- giving back ---

    async def _keep_house(self) -> None:
        while True:
            await trio.sleep(LOOK_EVERY_S)
            if self._kinds:
                await self._look()

    async def _look(self) -> None:
        now = trio.current_time()
        for key, kind in list(self._kinds.items()):
            image = self._services.paths.images / key.image_id
            if now - kind.used_at > UNUSED_S or not await run_blocking(image.exists):
                self._forget(key)
        reason = await run_blocking(self._pressure)
        if not reason:
            self._fill()
            return
        for kind in self._kinds.values():
            kind.not_before = now + RETRY_S
        given_back = self._all_ready()
        for one in given_back:
            one.over.set()
        if given_back:
            log.warning("%d standby VMs are given back: %s", len(given_back), reason)
            self._services.bus.publish(StandbyGivenBack(len(given_back), reason))

    async def _sweep(self) -> None:
        """End what a daemon that was killed has left."""
        await run_blocking(self._store.sweep)
        await run_blocking(self._store.sweep_unwritten)
        records, quarantined = await run_blocking(self._store.load_all)
        for error in quarantined.values():
            log.warning("a standby VM's record: %s", error)
        for record in records.values():
            await self._end(record)
        for name in quarantined:
            await run_blocking(self._store.delete, name)

    async def _end(self, record: VmRecord) -> None:
        driver, taps = self._services.driver, self._services.taps
        runtime = self._services.paths.vm_runtime / record.short_id
        identity = await driver.find(record.id)
        machine = None if identity is None else await driver.adopt(identity, runtime)
        if machine is not None:
            await machine.kill()
            machine.close()
        hooks = Hooks(self._services.capabilities, _ignore_progress, nameless=True)
        seen = self._seen(record, None)
        await hooks.stopped(
            msgspec.structs.replace(seen, tap=LEASED_PREFIX + record.short_id), record.options
        )
        await driver.forget(runtime)
        await taps.ask(ReleaseTap(record.id))
        await hooks.deleted(seen, record.options)
        await taps.ask(ReleaseAddress(record.id))
        await run_blocking(self._store.delete, record.name)


async def _settle(up: BringUp) -> None:
    """What a guest does for the first time takes it long: let it be done now. Then it stops."""
    assert up.guest.link is not None and up.record.process is not None
    with trio.move_on_after(SETTLE_DEADLINE_S):
        await _until_quiet(up.record.process)
    try:
        with trio.fail_after(SETTLE_DEADLINE_S):
            for _ in range(WARM_UP_RUNS):
                request = Exec(up.record.name, ["true"])
                with suppress(CommandNotFound):  # an image without it
                    await capture(up.guest.link, request, limit_bytes=0)
    except trio.TooSlowError:
        raise TimedOut("a guest that was to stand ready runs no command") from None
    await up.guest.pause()


async def _until_quiet(identity: ProcessIdentity) -> None:
    """Until the VMM needs next to no CPU: services that were told of the new VM have done."""
    used = cpu_seconds(identity)
    while True:
        await trio.sleep(SETTLE_STEP_S)
        before, used = used, cpu_seconds(identity)
        if used - before <= SETTLE_STEP_S * SETTLED_SHARE:
            return


def _ignore(_: object) -> None:
    pass


def _ignore_progress(capability: str, hook: str, text: str) -> None:
    pass
