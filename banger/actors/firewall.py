"""The firewall of the VMs' bridge: the base rules of every VM, and what capabilities add.

Its state is what is wanted; each change renders all of it and replaces our tables in one
transaction. Changes that arrive while one is under way go into the next one together. When
somebody else removes or changes our tables they are restored; nobody else's are touched.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import msgspec
import trio

from banger.actors.blocking import run_blocking
from banger.host import nft_watch, nftables
from banger.host.ruleset import check_pin, check_rules, render, table_name
from banger.kernel.actor import Actor, Envelope, Inbox
from banger.kernel.bus import Bus
from banger.kernel.errors import BangerError
from banger.kernel.message import Request
from banger.model.firewall import FirewallReport, FirewallRestored, Pin, Rules
from banger.model.network import Network

log = logging.getLogger(__name__)

GATHER_S = 0.002
"""A transaction costs seven times as much."""
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0


class PinTap(Request[None], frozen=True):
    """Hold a TAP to a MAC and an address. Before its VMM starts: what is not pinned passes
    the bridge unchecked. Replaces what this TAP had."""

    pin: Pin


class UnpinTap(Request[None], frozen=True):
    """Only after the VMM's exit is confirmed. Idempotent."""

    tap: str


class PutRules(Request[None], frozen=True):
    """Replace the rules that ``owner``, a capability, has for ``key``, such as a VM's id.

    Raises `UsageError` or `CommandFailed` for rules that can't be; others' are unharmed.
    """

    owner: str
    key: str
    rules: Rules


class RemoveRules(Request[None], frozen=True):
    """Remove an owner's rules for a key, or all of its rules. Idempotent."""

    owner: str
    key: str | None = None


class Dismantle(Request[None], frozen=True):
    """Remove the tables, capabilities' rules with them, when no TAP is pinned."""


class DescribeFirewall(Request[FirewallReport], frozen=True):
    """What is held, and whether the kernel has it so."""


Change = PinTap | UnpinTap | PutRules | RemoveRules | Dismantle


class Wanted(msgspec.Struct, frozen=True):
    """What our tables are made from. ``rules`` are keyed by owner and key."""

    pins: dict[str, Pin] = {}
    rules: dict[tuple[str, str], Rules] = {}

    @property
    def nothing(self) -> bool:
        return not self.pins and not self.rules

    def after(self, change: Change) -> Wanted:
        match change:
            case PinTap(pin):
                return Wanted({**self.pins, pin.tap: pin}, self.rules)
            case UnpinTap(tap):
                return Wanted({t: pin for t, pin in self.pins.items() if t != tap}, self.rules)
            case PutRules(owner, key, rules):
                others = self._rules_but(owner, key)
                return Wanted(
                    self.pins, others if rules == Rules() else {**others, (owner, key): rules}
                )
            case RemoveRules(owner, key):
                return Wanted(self.pins, self._rules_but(owner, key))
            case Dismantle():
                return self if self.pins else Wanted()

    def _rules_but(self, owner: str, key: str | None) -> dict[tuple[str, str], Rules]:
        return {
            place: rules
            for place, rules in self.rules.items()
            if place[0] != owner or key not in (None, place[1])
        }


class FirewallState:
    """What outlives a crash of the actor: capabilities need not put their rules again."""

    def __init__(self) -> None:
        self.wanted = Wanted()
        self.listed: str | None = None
        """How nft listed our tables after the last change; None before the first."""


class _Waiting:
    """A change that waits for the next transaction."""

    def __init__(self, change: Change) -> None:
        self.change = change
        self.settled = False
        self.error: BangerError | None = None


class Firewall(Actor):
    name = "firewall"

    def __init__(
        self,
        *,
        bridge: str,
        network: Callable[[], Awaitable[Network]],
        recovered: trio.Event,
        state: FirewallState,
        bus: Bus,
    ) -> None:
        """``network()`` is asked when there is something to install. Until ``recovered`` is
        set, changes are only noted: a daemon that has just started leaves the tables of the
        one before it as they are, and replaces them when it knows all VMs again."""
        self._bridge = bridge
        self._table = table_name(bridge)
        self._network = network
        self._recovered = recovered
        self._state = state
        self._bus = bus
        self._waiting: list[_Waiting] = []
        self._applying = trio.Lock()

    async def run(self, inbox: Inbox) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep)
            async for envelope in inbox:
                nursery.start_soon(self._serve, envelope)
            nursery.cancel_scope.cancel()

    async def _serve(self, envelope: Envelope[object]) -> None:
        with envelope:
            if isinstance(envelope.request, DescribeFirewall):
                envelope.reply(await self._describe())
            else:
                assert isinstance(envelope.request, Change), envelope.request
                await self._make(envelope.request)
                envelope.reply(None)

    # --- changes ---

    async def _make(self, change: Change) -> None:
        """Whoever comes first after a transaction makes the next one for all who wait."""
        match change:
            case PinTap(pin):
                check_pin(pin)
            case PutRules(rules=rules):
                check_rules(rules)
        if not self._recovered.is_set():
            self._state.wanted = self._state.wanted.after(change)
            return
        mine = _Waiting(change)
        self._waiting.append(mine)
        async with self._applying:
            if not mine.settled:
                # What other hooks of the same VM want at the same time goes with it.
                await trio.sleep(GATHER_S)
                batch, self._waiting = self._waiting, []
                await self._settle(batch)
        if mine.error is not None:
            raise mine.error

    async def _settle(self, batch: list[_Waiting]) -> None:
        """All in one transaction; if it fails, halves, until the guilty ones are alone."""
        error: BangerError | None = None
        try:
            wanted = held = self._state.wanted
            for each in batch:
                wanted = wanted.after(each.change)
            if wanted != held or self._state.listed is None:
                await self._reach(wanted)
        except BangerError as failure:
            error = failure
        if error is not None and len(batch) > 1:
            middle = len(batch) // 2
            await self._settle(batch[:middle])
            await self._settle(batch[middle:])
            return
        for each in batch:
            each.settled, each.error = True, error

    async def _reach(self, wanted: Wanted) -> None:
        text = ""
        if not wanted.nothing:
            gateway = (await self._network()).gateway.ip
            text = render(self._table, self._bridge, gateway, wanted.pins.values(), wanted.rules)
        listed = await run_blocking(self._install, text)
        self._state.wanted, self._state.listed = wanted, listed

    def _install(self, text: str) -> str:
        if not text:
            nftables.remove(self._table)
            return ""
        nftables.apply(text)
        return nftables.installed(self._table)

    # --- what others do to our tables ---

    async def _keep(self) -> None:
        """Look after the tables once all VMs are known, and whenever they were changed."""
        await self._recovered.wait()
        try:
            watch = nft_watch.ChangeWatch(self._table)
        except BangerError as error:
            log.warning("a removal of the firewall's rules will not be noticed: %s", error)
            await self._restore()
            return
        with watch:
            while True:
                await self._restore()
                await watch.changed()

    async def _restore(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                async with self._applying:
                    await self._restore_if_damaged()
            except BangerError as error:
                log.warning("the firewall of %s can't be looked after: %s", self._bridge, error)
                if self._state.wanted.nothing:
                    return
            else:
                return
            await trio.sleep(pause_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    async def _restore_if_damaged(self) -> None:
        wanted = self._state.wanted
        current = await run_blocking(nftables.installed, self._table)
        if self._is_as_wanted(current):
            return
        known = self._state.listed is not None and not wanted.nothing
        await self._reach(wanted)
        if known:
            reason = "changed" if current else "removed"
            log.warning("somebody has %s table %s; it is restored", reason, self._table)
            self._bus.publish(FirewallRestored(self._table, reason))

    def _is_as_wanted(self, current: str) -> bool:
        if self._state.wanted.nothing:
            return not current
        return bool(current) and self._state.listed == current

    async def _describe(self) -> FirewallReport:
        async with self._applying:
            wanted = self._state.wanted
            current = await run_blocking(nftables.installed, self._table)
            return FirewallReport(
                table=self._table,
                pins=tuple(wanted.pins.values()),
                owners=tuple(sorted({owner for owner, _ in wanted.rules})),
                intact=self._is_as_wanted(current),
            )
