"""The installation's SSH key in the guests: which of them accept it, and its replacement.

A rotation makes the new key beside the old one, lets all running guests accept both,
switches by a rename, and takes the old key from them. A daemon that ends before the rename
has abandoned it, after the rename has done it: the next one only takes from the guests
what they must not accept. Guests that don't run are told the key at their start.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import trio

from banger.actors import vm_requests
from banger.actors.blocking import run_blocking
from banger.actors.fleet import FindVm, LookAtVms
from banger.guest import authorized_keys
from banger.guest.link import AgentLink
from banger.host.keys import InstallationKey, fingerprint
from banger.kernel.actor import Actor, Envelope, Inbox, Ref
from banger.kernel.bus import Bus
from banger.kernel.errors import ActorStopped, BangerError, HostNotReady, NotFound, TimedOut
from banger.kernel.message import Fault, Lost, Request
from banger.kernel.stages import Stage, run_stages
from banger.model.clock import rfc3339
from banger.model.events import GuestRebooted
from banger.model.requests.keys import KeyOfVm, KeyStatus, KeyView
from banger.model.vm import VmState

log = logging.getLogger(__name__)

GUEST_DEADLINE_S = 12.0
"""For one guest: longer than an agent's answer or a free channel may take."""

SETTLING_DEADLINE_S = 30.0
"""How long a VM that is just being started or stopped is waited for."""

_UNSETTLED = (VmState.CREATING, VmState.STARTING, VmState.STOPPING)
_WITH_GUEST = (VmState.RUNNING, VmState.PAUSED)


class DescribeKey(Request[KeyView], frozen=True):
    """The key, and which guests accept it and none of its predecessors."""


class RotateKey(Request[KeyView], frozen=True):
    """Replace it. Goes on to its end when abandoned."""

    fault: Fault | None = None


class AssureKey(Request[None], frozen=True):
    """Let the guest of a running VM accept the key and none of its predecessors.

    Does nothing while there never was another. Raises as `GetLink` and `amend` do.
    """

    vm: str


class Keys(Actor):
    name = "keys"

    def __init__(
        self, key: InstallationKey, *, fleet: Ref, bus: Bus, recovered: trio.Event
    ) -> None:
        self._key = key
        self._fleet = fleet
        self._bus = bus
        self._recovered = recovered
        self._rotating = trio.Lock()
        self._editing: dict[str, trio.Lock] = {}
        """By VM: what is read of a guest's file and written again must not be mixed."""

    async def run(self, inbox: Inbox) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._catch_up)
            nursery.start_soon(self._follow_reboots)
            async for envelope in inbox:
                nursery.start_soon(self._answer, envelope)

    async def _answer(self, envelope: Envelope[Any]) -> None:
        with envelope:
            match envelope.request:
                case DescribeKey():
                    envelope.reply(await self._view(await self._everywhere(self._looked_at)))
                case RotateKey(fault):
                    async with self._rotating:
                        envelope.reply(await self._rotate(fault))
                case AssureKey(vm):
                    if self._key.retired:
                        await self._amend(vm)
                    envelope.reply(None)
                case request:
                    raise AssertionError(request)

    async def _catch_up(self) -> None:
        """What an earlier daemon, or this actor before it crashed, did not come to."""
        await self._recovered.wait()
        async with self._rotating:
            await run_blocking(self._key.abandon)
            if self._key.retired:
                _log_failures(await self._everywhere(self._amended))

    async def _follow_reboots(self) -> None:
        """A guest that reboots has again the key of its VMM's start."""
        with self._bus.subscribe() as events:
            async for event in events:
                if isinstance(event, GuestRebooted) and self._key.retired:
                    found = await self._amended(event.vm)
                    _log_failures([found] if found else [])

    # --- rotation ---

    async def _rotate(self, fault: Fault | None) -> KeyView:
        before = fingerprint(self._key.pair.public)
        # Behind the switch there is nothing to abandon, and what is left of it is done again.
        stages: list[Stage[None]] = [
            Stage("prepare", lambda _: self._on_disk(self._key.prepare), lambda _: self._abandon()),
            Stage("announce", lambda _: self._announce()),
            Stage("switch", lambda _: self._on_disk(self._key.switch)),
        ]
        await run_stages(stages, None, started=_quiet, finished=_quiet, fault=fault)
        log.info("the key was %s and is %s", before, fingerprint(self._key.pair.public))
        return await self._view(await self._everywhere(self._amended))

    async def _on_disk(self, work: Callable[[], None]) -> str:
        try:
            await run_blocking(work)
        except OSError as error:
            raise HostNotReady(f"the key can't be replaced: {error}") from error
        return ""

    async def _announce(self) -> str:
        """A guest that can't be told now is tried again behind the switch."""
        _log_failures(await self._everywhere(self._amended))
        return ""

    async def _abandon(self) -> None:
        await run_blocking(self._key.abandon)
        _log_failures(await self._everywhere(self._amended))

    async def _view(self, vms: list[KeyOfVm]) -> KeyView:
        public = self._key.pair.public
        return KeyView(
            public_key=public,
            fingerprint=fingerprint(public),
            made_at=rfc3339(await run_blocking(lambda: self._key.made_at)),
            path=str(self._key.path),
            vms=vms,
        )

    # --- guests ---

    async def _everywhere(self, work: Callable[[str], Awaitable[KeyOfVm | None]]) -> list[KeyOfVm]:
        """The work for every VM at once; sorted by name, without those that are gone."""
        done: list[KeyOfVm] = []

        async def one(name: str) -> None:
            if (found := await work(name)) is not None:
                done.append(found)

        async with trio.open_nursery() as nursery:
            for seen in await self._fleet.ask(LookAtVms()):
                nursery.start_soon(one, seen.vm.name)
        return sorted(done, key=lambda found: found.vm)

    async def _looked_at(self, name: str) -> KeyOfVm | None:
        return await self._of(name, await self._state(name), self._look)

    async def _amended(self, name: str) -> KeyOfVm | None:
        """With what it is told by now, a VM that is starting may accept an older key only."""
        with trio.move_on_after(SETTLING_DEADLINE_S):
            return await self._of(name, await self._settled(name), self._amend)
        return KeyOfVm(name, KeyStatus.FAILED, f"VM {name!r} did not come up or down meanwhile")

    async def _of(
        self,
        name: str,
        state: VmState | None,
        work: Callable[[str], Awaitable[KeyStatus]],
    ) -> KeyOfVm | None:
        if state in _WITH_GUEST:
            try:
                return KeyOfVm(name, await work(name))
            except BangerError as error:
                # It may have ended by itself, or been stopped.
                state = await self._state(name)
                if state in _WITH_GUEST:
                    return KeyOfVm(name, KeyStatus.FAILED, str(error))
        return None if state is None else KeyOfVm(name, KeyStatus.NEXT_START)

    async def _look(self, name: str) -> KeyStatus:
        link = await self._link(name)
        with _deadline(name):
            good = await authorized_keys.is_amended(link, self._key.wanted, self._key.unwanted)
        return KeyStatus.CONFIRMED if good else KeyStatus.OUTDATED

    async def _amend(self, name: str) -> KeyStatus:
        link = await self._link(name)
        with _deadline(name):
            async with self._editing.setdefault(name, trio.Lock()):
                await authorized_keys.amend(link, self._key.wanted, self._key.unwanted)
        return KeyStatus.CONFIRMED

    async def _link(self, name: str) -> AgentLink:
        return await (await self._fleet.ask(FindVm(name))).ask(vm_requests.GetLink())

    async def _state(self, name: str) -> VmState | None:
        """None: there is no such VM any more."""
        try:
            ref = await self._fleet.ask(FindVm(name))
            return (await ref.ask(vm_requests.Look())).vm.state
        except (NotFound, ActorStopped):
            return None

    async def _settled(self, name: str) -> VmState | None:
        """Its state once it is neither coming up nor going down."""
        with self._bus.subscribe() as events:
            while (state := await self._state(name)) in _UNSETTLED:
                async for event in events:
                    if isinstance(event, Lost) or getattr(event, "vm", None) == name:
                        break
        return state


@contextmanager
def _deadline(name: str) -> Iterator[None]:
    try:
        with trio.fail_after(GUEST_DEADLINE_S):
            yield
    except trio.TooSlowError:
        raise TimedOut(f"the agent of VM {name!r} does not answer") from None


def _log_failures(vms: list[KeyOfVm]) -> None:
    for found in vms:
        if found.status is KeyStatus.FAILED:
            log.warning("the key of VM %s: %s", found.vm, found.problem)


def _quiet(_: object) -> None:
    """Nobody is told of the stages."""
