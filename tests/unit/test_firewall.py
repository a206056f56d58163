"""The firewall's actor over an nft that obeys the test (tests/host has the real one)."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Interface

import pytest
import trio

from banger.actors import firewall
from banger.actors.firewall import (
    DescribeFirewall,
    Dismantle,
    Firewall,
    FirewallState,
    PinTap,
    PutRules,
    RemoveRules,
    UnpinTap,
)
from banger.kernel.actor import Ref
from banger.kernel.bus import Bus, Subscription
from banger.kernel.errors import ActorStopped, CommandFailed, HostNotReady, UsageError
from banger.kernel.message import Request
from banger.kernel.supervisor import Supervisor
from banger.model.firewall import FirewallRestored, Pin, Rules
from banger.model.network import Network
from tests.unit.nursery import nursery_within

BRIDGE = "banger-t"
NETWORK = Network(BRIDGE, IPv4Interface("10.213.0.1/24"))
BAD = Rules(forward=("what nft does not take",))


class FakeNft:
    """Holds one table. `hold` keeps the next `apply` from ending until it is let go."""

    def __init__(self) -> None:
        self.kernel = ""
        self.applied: list[str] = []
        self.error: Exception | None = None
        self.tell = trio.Event()
        self.watching = trio.Event()
        """Set once the actor has looked after what was there when it began."""
        self.entered = trio.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    def hold(self) -> None:
        self.entered = trio.Event()
        self.go_on.clear()

    def apply(self, text: str) -> None:
        self.applied.append(text)
        trio.from_thread.run_sync(self.entered.set)
        assert self.go_on.wait(30)
        if self.error is not None:
            raise self.error
        if BAD.forward[0] in text:
            raise CommandFailed(["nft"], 1, "syntax error")
        self.kernel = text

    def installed(self, table: str) -> str:
        assert table == BRIDGE
        return self.kernel

    def remove(self, table: str) -> None:
        if self.error is not None:
            raise self.error
        self.kernel = ""

    # --- the watch ---

    def ChangeWatch(self, table: str) -> FakeNft:
        return self

    def __enter__(self) -> FakeNft:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    async def changed(self) -> None:
        self.watching.set()
        await self.tell.wait()
        self.tell = trio.Event()


@pytest.fixture
def nft(monkeypatch: pytest.MonkeyPatch) -> FakeNft:
    fake = FakeNft()
    monkeypatch.setattr(firewall, "nftables", fake)
    monkeypatch.setattr(firewall, "nft_watch", fake)
    return fake


class Daemon:
    def __init__(self, ref: Ref, events: Subscription) -> None:
        self.ref, self.events = ref, events


@asynccontextmanager
async def daemon(
    *,
    recovered: trio.Event | None = None,
) -> AsyncIterator[Daemon]:
    bus = Bus()
    state = FirewallState()
    if recovered is None:
        recovered = trio.Event()
        recovered.set()

    async def network() -> Network:
        await trio.lowlevel.checkpoint()
        return NETWORK

    def make() -> Firewall:
        return Firewall(bridge=BRIDGE, network=network, recovered=recovered, state=state, bus=bus)

    with bus.subscribe() as events:
        async with nursery_within(30) as nursery:
            child = Supervisor(nursery).start("firewall", make)
            yield Daemon(child.ref, events)
            nursery.cancel_scope.cancel()


def pin(number: int) -> Pin:
    return Pin(f"tap-{number}", f"02:fc:0a:d5:00:{number:02x}", f"10.213.0.{number}")


def pinned(text: str) -> set[int]:
    return {number for number in range(256) if f'"tap-{number}"' in text}


async def test_what_comes_meanwhile_is_one_transaction(nft: FakeNft) -> None:
    async with daemon() as running:
        nft.hold()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(running.ref.ask, PinTap(pin(2)))
            await nft.entered.wait()
            for number in range(3, 103):
                nursery.start_soon(running.ref.ask, PinTap(pin(number)))
            await trio.testing.wait_all_tasks_blocked()
            nft.go_on.set()
        assert [len(pinned(text)) for text in nft.applied] == [1, 101]
        assert pinned(nft.kernel) == set(range(2, 103))


async def test_only_the_guilty_one_fails(nft: FakeNft) -> None:
    failed: list[str] = []
    async with daemon() as running:

        async def put(key: str, rules: Rules) -> None:
            try:
                await running.ref.ask(PutRules("nat", key, rules))
            except CommandFailed:
                failed.append(key)

        nft.hold()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(running.ref.ask, PinTap(pin(2)))
            await nft.entered.wait()
            for number in range(20):
                rules = BAD if number == 7 else Rules(forward=(f"rule of {number}.",))
                nursery.start_soon(put, str(number), rules)
            await trio.testing.wait_all_tasks_blocked()
            nft.go_on.set()
        assert failed == ["7"]
        assert nft.kernel.count("rule of") == 19
        assert len(nft.applied) < 20
        await running.ref.ask(PinTap(pin(3)))
        assert pinned(nft.kernel) == {2, 3}


@pytest.mark.parametrize(
    "request_",
    [
        PinTap(Pin("tap-*", "02:fc:0a:d5:00:02", "10.213.0.2")),
        PutRules("nat", "a", Rules(input=("accept; flush ruleset",))),
    ],
)
async def test_what_can_not_be_rendered_is_not_tried(nft: FakeNft, request_: Request[None]) -> None:
    async with daemon() as running:
        with pytest.raises(UsageError):
            await running.ref.ask(request_)
        assert nft.applied == []
        await running.ref.ask(PinTap(pin(2)))
        assert pinned(nft.kernel) == {2}


async def test_rules_are_their_owner_s(nft: FakeNft) -> None:
    def rules(text: str) -> Rules:
        return Rules(forward=(text,))

    async with daemon() as running:
        ask = running.ref.ask
        await ask(PutRules("nat", "a", rules("nat of a")))
        await ask(PutRules("nat", "b", rules("nat of b")))
        await ask(PutRules("dns", "a", rules("dns of a")))
        await ask(PutRules("nat", "a", rules("nat anew")))
        assert "nat of a" not in nft.kernel
        assert (await ask(DescribeFirewall())).owners == ("dns", "nat")
        await ask(RemoveRules("nat", "b"))
        assert "nat of b" not in nft.kernel
        assert "nat anew" in nft.kernel
        await ask(PutRules("nat", "b", rules("nat of b")))
        await ask(RemoveRules("nat"))
        assert "dns of a" in nft.kernel
        assert "nat of" not in nft.kernel and "nat anew" not in nft.kernel
        await ask(PutRules("dns", "a", Rules()))
        assert nft.kernel == ""


async def test_nothing_is_installed_for_nobody(nft: FakeNft) -> None:
    async with daemon() as running:
        await running.ref.ask(UnpinTap("tap-2"))
        await running.ref.ask(RemoveRules("nat"))
        assert nft.applied == []
        await running.ref.ask(PinTap(pin(2)))
        await running.ref.ask(PinTap(pin(2)))
        await running.ref.ask(UnpinTap("tap-9"))
        assert len(nft.applied) == 1
        await running.ref.ask(UnpinTap("tap-2"))
        assert nft.kernel == ""


async def test_dismantled_it_keeps_what_holds_guests(nft: FakeNft) -> None:
    async with daemon() as running:
        await running.ref.ask(PutRules("dns", "", Rules(input=("accept",))))
        await running.ref.ask(PinTap(pin(2)))
        held = nft.kernel
        await running.ref.ask(Dismantle())
        assert nft.kernel == held
        await running.ref.ask(UnpinTap("tap-2"))
        assert "guest_input accept" in nft.kernel
        await running.ref.ask(Dismantle())
        assert nft.kernel == ""


@pytest.mark.parametrize(("kernel", "reason"), [("", "removed"), ("tampered", "changed")])
async def test_what_somebody_changes_is_restored(nft: FakeNft, kernel: str, reason: str) -> None:
    async with daemon() as running:
        await running.ref.ask(PinTap(pin(2)))
        await nft.watching.wait()
        held, nft.kernel = nft.kernel, kernel
        assert not (await running.ref.ask(DescribeFirewall())).intact
        nft.tell.set()
        assert await anext(running.events) == FirewallRestored(BRIDGE, reason)
        assert nft.kernel == held
        assert (await running.ref.ask(DescribeFirewall())).intact


async def test_changes_of_our_own_are_no_news(nft: FakeNft) -> None:
    async with daemon() as running:
        await running.ref.ask(PinTap(pin(2)))
        nft.tell.set()
        await trio.testing.wait_all_tasks_blocked()
        await running.ref.ask(DescribeFirewall())
        assert running.events.pending() == []
        assert len(nft.applied) == 1


async def test_restoring_is_tried_until_it_works(
    nft: FakeNft, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(firewall, "FIRST_PAUSE_S", 0.001)
    async with daemon() as running:
        await running.ref.ask(PinTap(pin(2)))
        nft.kernel, nft.error = "", HostNotReady("no nft")
        nft.tell.set()
        while len(nft.applied) < 4:
            nft.entered = trio.Event()
            await nft.entered.wait()
        with pytest.raises(HostNotReady):
            await running.ref.ask(PinTap(pin(3)))
        nft.error = None
        assert await anext(running.events) == FirewallRestored(BRIDGE, "removed")
        assert pinned(nft.kernel) == {2}


async def test_a_restarted_actor_knows_it_all(nft: FakeNft) -> None:
    async with daemon() as running:
        await running.ref.ask(PinTap(pin(2)))
        await running.ref.ask(PutRules("nat", "a", Rules(forward=("accept",))))
        nft.error = RuntimeError("a bug")
        with pytest.raises(ActorStopped):
            await running.ref.ask(PinTap(pin(3)))
        nft.error, nft.kernel = None, ""
        assert await anext(running.events) == FirewallRestored(BRIDGE, "removed")
        assert pinned(nft.kernel) == {2}
        assert "guest_forward accept" in nft.kernel
        await running.ref.ask(PinTap(pin(4)))
        assert pinned(nft.kernel) == {2, 4}


async def test_a_new_daemon_leaves_the_old_one_s_rules_until_it_knows_all_vms(
    nft: FakeNft,
) -> None:
    nft.kernel = "of the old one"
    recovered = trio.Event()
    async with daemon(recovered=recovered) as running:
        await running.ref.ask(PinTap(pin(2)))
        await running.ref.ask(PinTap(pin(3)))
        with pytest.raises(UsageError):
            await running.ref.ask(PinTap(Pin("tap", "no MAC", "10.213.0.4")))
        assert (nft.kernel, nft.applied) == ("of the old one", [])
        recovered.set()
        await nft.entered.wait()
        assert (await running.ref.ask(DescribeFirewall())).intact
        assert pinned(nft.kernel) == {2, 3}
        assert len(nft.applied) == 1
        assert running.events.pending() == []
