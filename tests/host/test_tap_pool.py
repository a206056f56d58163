"""TAPs whose bridge went away, and TAPs that nobody expects, on real devices."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Interface
from pathlib import Path

import pytest

from banger.actors.tap_pool import (
    AcquireAddress,
    Dismantle,
    GetNetwork,
    Holding,
    ListUnknown,
    ReleaseTap,
    TapPool,
    mac_of,
)
from banger.host.netlink import (
    attach_tap,
    create_tap,
    delete_bridge,
    delete_tap,
    ensure_bridge,
    lease_tap,
    list_taps,
    open_tap,
)
from banger.kernel.actor import Ref
from banger.kernel.errors import NotFound
from banger.kernel.supervisor import Supervisor
from banger.model.firewall import Pin
from tests.unit.nursery import nursery_within

BRIDGE = "br-pool"
SUBNET = "10.214.0.0/24"
A, B, LOST = "a" * 32, "b" * 32, "c" * 32


@asynccontextmanager
async def pool_at(directory: Path) -> AsyncIterator[Ref]:
    def make() -> TapPool:
        return TapPool(
            bridge_name=BRIDGE,
            wanted_subnet=SUBNET,
            subnet_file=directory / "subnet",
            size=2,
            holdings=lambda: [Holding(A, "10.214.0.2"), Holding(B, "10.214.0.3")],
        )

    async with nursery_within(30) as nursery:
        pool = Supervisor(nursery).start("tap-pool", make).ref
        await pool.ask(GetNetwork())
        yield pool
        for vm in (A, B):
            await pool.ask(ReleaseTap(vm))
        await pool.ask(Dismantle())
        nursery.cancel_scope.cancel()


def bridges() -> dict[str, str | None]:
    """The bridge of each TAP that the pool has or had."""
    return {tap.name: tap.bridge for tap in list_taps()}


def test_a_tap_is_put_back_on_a_bridge_made_anew() -> None:
    gateway = IPv4Interface("10.214.0.1/24")
    ensure_bridge(BRIDGE, gateway)
    create_tap("tap-left", bridge=BRIDGE)
    delete_bridge(BRIDGE)
    assert bridges() == {"tap-left": None}
    ensure_bridge(BRIDGE, gateway)
    attach_tap("tap-left", BRIDGE)
    assert bridges() == {"tap-left": BRIDGE}
    with pytest.raises(NotFound, match="no tap-none"):
        attach_tap("tap-none", BRIDGE)
    delete_tap("tap-left")
    delete_bridge(BRIDGE)


async def test_taps_that_no_record_tells_of(tmp_path: Path) -> None:
    ensure_bridge(BRIDGE, IPv4Interface("10.214.0.1/24"))
    for name in ("tap-idle-a", "tap-idle-b", "tap-myown"):
        create_tap(name, bridge=BRIDGE)
    lease_tap("tap-idle-a", "tap-cccccccc", alias=f"banger {LOST} 10.214.0.4")
    lease_tap("tap-idle-b", "tap-dddddddd", alias=f"banger {'d' * 32} 10.214.0.5")
    running = open_tap("tap-cccccccc")
    try:
        async with pool_at(tmp_path) as pool:
            mac = mac_of(IPv4Interface("10.214.0.4").ip)
            assert await pool.ask(ListUnknown()) == [Pin("tap-cccccccc", mac, "10.214.0.4")]
            # That of a VM that has ended is gone; somebody's own is not ours to remove.
            assert "tap-dddddddd" not in bridges()
            assert "tap-myown" in bridges()
            given = [(await pool.ask(AcquireAddress(f"{n:032x}"))).address for n in range(2)]
            assert given == ["10.214.0.5", "10.214.0.6"]
    finally:
        os.close(running)
        for name in ("tap-cccccccc", "tap-myown"):
            delete_tap(name)
        delete_bridge(BRIDGE)
    assert bridges() == {}
