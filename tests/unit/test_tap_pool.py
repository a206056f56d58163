"""The TAP pool over a machine that obeys the test (tests/host has the real one)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path

import pytest
import trio

from banger.actors import tap_pool
from banger.actors.tap_pool import (
    AcquireAddress,
    AcquireTap,
    Dismantle,
    GetNetwork,
    Holding,
    ReleaseTap,
    TapPool,
)
from banger.host.netlink import Tap
from banger.kernel.errors import Conflict, HostNotReady, NotFound
from banger.kernel.supervisor import Child, Supervisor
from tests.unit.nursery import nursery_within

BRIDGE = "br-test"


class FakeNetlink:
    """TAPs by name, each with its bridge."""

    def __init__(self) -> None:
        self.taps: dict[str, str | None] = {}
        self.refuses_new = False
        self.made_bridge = 0
        self._bridge_there = False

    def lose_bridge(self) -> None:
        """Somebody removes it; the TAPs stay."""
        self._bridge_there = False
        self.taps = dict.fromkeys(self.taps)

    def check_rights(self) -> None:
        pass

    def find_bridge(self, name: str) -> None:
        return None

    def ensure_bridge(self, name: str, gateway: IPv4Interface) -> None:
        self.made_bridge += not self._bridge_there
        self._bridge_there = True

    def attach_tap(self, name: str, bridge: str) -> None:
        self.taps[name] = bridge

    def delete_bridge(self, name: str) -> None:
        pass

    def host_networks(self, *, except_bridge: str) -> list[IPv4Network]:
        return []

    def choose_subnet(self, taken: Iterable[IPv4Network]) -> IPv4Network:
        return IPv4Network("172.31.0.0/24")

    def list_taps(self) -> list[Tap]:
        return [
            Tap(name, index, "", bridge, up=False, carrier=False, mtu=1500)
            for index, (name, bridge) in enumerate(self.taps.items())
        ]

    def create_tap(self, name: str, *, bridge: str) -> None:
        if self.refuses_new:
            raise HostNotReady(name)
        if name in self.taps:
            raise Conflict(name)
        if not self._bridge_there:
            raise NotFound(bridge)
        self.taps[name] = bridge

    def lease_tap(self, old: str, new: str, *, alias: str) -> Tap:
        self._rename(old, new)
        return Tap(new, 1, alias, self.taps[new], up=True, carrier=False, mtu=1500)

    def release_tap(self, old: str, new: str) -> None:
        self._rename(old, new)

    def delete_tap(self, name: str) -> None:
        self.taps.pop(name, None)

    def _rename(self, old: str, new: str) -> None:
        if old not in self.taps:
            raise NotFound(old)
        if new in self.taps:
            raise Conflict(new)
        self.taps[new] = self.taps.pop(old)


async def settled(machine: FakeNetlink, wanted: int) -> None:
    """Wait until there are that many idle TAPs."""
    while sum(name.startswith("tap-pool-") for name in machine.taps) < wanted:
        await trio.sleep(0.001)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> FakeNetlink:
    machine = FakeNetlink()
    monkeypatch.setattr(tap_pool, "netlink", machine)
    return machine


@asynccontextmanager
async def pool_at(root: Path, holdings: list[Holding]) -> AsyncIterator[Child]:
    def make() -> TapPool:
        return TapPool(
            bridge_name=BRIDGE,
            wanted_subnet="auto",
            subnet_file=root / "subnet",
            size=2,
            holdings=lambda: list(holdings),
        )

    async with nursery_within(30) as nursery:
        yield Supervisor(nursery).start("tap-pool", make)
        nursery.cancel_scope.cancel()


async def test_names_that_another_bridge_has(tmp_path: Path, machine: FakeNetlink) -> None:
    """Two daemons in one network number their idle TAPs each by itself."""
    others = {f"tap-pool-{number}": "br-other" for number in range(3)}
    machine.taps = {"tap-aaaaaaaa": BRIDGE, **others}
    machine.refuses_new = True
    async with pool_at(tmp_path, [Holding("a" * 32, "172.31.0.2")]) as pool:
        await pool.ref.ask(ReleaseTap("a" * 32))
    assert machine.taps == {"tap-pool-3": BRIDGE, **others}


async def test_a_subnet_file_that_makes_no_sense(tmp_path: Path, machine: FakeNetlink) -> None:
    (tmp_path / "subnet").write_text("everything\n")
    async with pool_at(tmp_path, []) as pool:
        for _ in range(7):
            with pytest.raises(HostNotReady, match=r"subnet can't be read"):
                await pool.ref.ask(GetNetwork())
        assert not pool.finished.is_set()
        (tmp_path / "subnet").unlink()
        assert str((await pool.ref.ask(GetNetwork())).gateway) == "172.31.0.1/24"


async def test_built_anew_it_gives_no_address_twice(tmp_path: Path, machine: FakeNetlink) -> None:
    holdings: list[Holding] = []
    async with pool_at(tmp_path, holdings) as pool:
        first = await pool.ref.ask(AcquireAddress("a" * 32))
        holdings.append(Holding("a" * 32, first.address))
    async with pool_at(tmp_path, holdings) as pool:
        assert (await pool.ref.ask(AcquireAddress("b" * 32))).address != first.address
        assert await pool.ref.ask(AcquireAddress("a" * 32)) == first


async def test_a_bridge_removed_under_running_vms(tmp_path: Path, machine: FakeNetlink) -> None:
    """Whoever notices first makes it again, and every TAP of ours is on it then."""
    holdings = [Holding(f"{number:08x}" + "0" * 24, "") for number in range(30)]
    async with pool_at(tmp_path, holdings) as pool:
        await pool.ref.ask(GetNetwork())
        for number, holding in enumerate(holdings):
            await settled(machine, 2)
            machine.lose_bridge()
            lease = await pool.ref.ask(AcquireTap(holding.vm_id, f"172.31.0.{number + 2}"))
            await settled(machine, 2)
            assert machine.taps[lease.tap] == BRIDGE
            assert set(machine.taps.values()) == {BRIDGE}, machine.taps
            assert machine.made_bridge == number + 2, "it was made twice"
        assert len(machine.taps) == len(holdings) + 2
        await pool.ref.ask(Dismantle())
        assert len(machine.taps) == len(holdings), "an idle one was forgotten"


async def test_a_network_made_anew_keeps_what_no_record_tells(
    tmp_path: Path, machine: FakeNetlink
) -> None:
    vm, other = "a" * 32, "b" * 32
    async with pool_at(tmp_path, []) as pool:
        first = await pool.ref.ask(AcquireAddress(vm))
        await settled(machine, 2)
        machine.lose_bridge()
        await pool.ref.ask(AcquireTap(other, "172.31.0.9"))
        assert machine.made_bridge == 2
        assert await pool.ref.ask(AcquireAddress(vm)) == first
        assert (await pool.ref.ask(AcquireAddress("c" * 32))).address != first.address
