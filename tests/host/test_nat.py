"""The NAT plugin and the real kernel: routes, nft's syntax, forgotten connections."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from ipaddress import IPv4Interface
from typing import Any

import pytest
import trio

from banger.capabilities import Network
from banger.host import nftables
from banger.host.ruleset import render
from banger.kernel.actor import mailbox
from tests.host.conftest import Ip
from tests.namespaces import Machine

conntrack = pytest.importorskip("banger_nat.conntrack")
options = pytest.importorskip("banger_nat.options")
rules = pytest.importorskip("banger_nat.rules")
uplink = pytest.importorskip("banger_nat.uplink")

BRIDGE = "br-nat"
NETWORK = Network(BRIDGE, IPv4Interface("10.9.0.1/24"))
GUEST = "10.9.0.2"


@pytest.fixture
def two_ways(ip: Ip, veth: str) -> None:
    ip("link", "set", veth, "up")
    ip("address", "add", "192.0.2.2/24", "dev", veth)
    ip("link", "add", "second", "type", "veth", "peer", "name", "second-peer")
    ip("link", "set", "second-peer", "up")
    ip("link", "set", "second", "up")
    ip("address", "add", "203.0.113.2/24", "dev", "second")


def test_the_default_route(ip: Ip, two_ways: None) -> None:
    assert uplink.default_interfaces() == ()
    ip("route", "add", "default", "via", "203.0.113.1", "metric", "100")
    assert uplink.default_interfaces() == ("second",)
    ip("route", "add", "default", "via", "192.0.2.1", "metric", "50")
    assert uplink.default_interfaces() == ("veth",)
    hops = ("nexthop", "via", "192.0.2.1", "nexthop", "via", "203.0.113.1")
    ip("route", "add", "default", "metric", "10", *hops)
    assert uplink.default_interfaces() == ("second", "veth")
    ip("route", "add", "unreachable", "default", "metric", "5")
    assert uplink.default_interfaces() == ("second", "veth")


async def test_changes_are_noticed(ip: Ip, two_ways: None) -> None:
    seen: list[tuple[str, ...]] = []
    looked = trio.Event()

    async def look() -> None:
        nonlocal looked
        seen.append(uplink.default_interfaces())
        looked.set()
        looked = trio.Event()

    async def after(*command: str) -> tuple[str, ...]:
        """What was seen when it was first looked after the command."""
        waiting = looked
        ip(*command)
        with trio.fail_after(5):
            await waiting.wait()
        return seen[-1]

    _, inbox = mailbox("uplink")
    async with trio.open_nursery() as nursery:
        waiting = looked
        nursery.start_soon(uplink.UplinkWatch(look).run, inbox)
        await waiting.wait()
        assert seen == [()]
        assert await after("route", "add", "default", "via", "192.0.2.1") == ("veth",)
        assert await after("route", "replace", "default", "via", "203.0.113.1") == ("second",)
        # The kernel does not tell that this route has gone, but that the link has.
        assert await after("link", "set", "second", "down") == ()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("uplinks", [("eth0", "wlan0"), (), None])
def test_nft_takes_the_rules(clean_namespace: None, uplinks: tuple[str, ...] | None) -> None:
    wanted = options.NatOptions(
        egress=["10.1.0.0/16", "192.0.2.7:443", "0.0.0.0/0:80-90/tcp", "0.0.0.0/0"],
        publish=["8080:80", "192.0.2.2:53:53/udp", "127.0.0.1:8081:80"],
    )
    made = {("nat", "vm"): rules.rules_for(GUEST, NETWORK, wanted, uplinks)}
    nftables.apply(render("banger-nat-test", BRIDGE, NETWORK.gateway.ip, [], made))
    nftables.remove("banger-nat-test")


@pytest.fixture
def peer(clean_namespace: None, ip: Ip) -> Iterator[Machine]:
    """Somebody on a cable, at 192.0.2.9."""
    machine = Machine("cable", "02:00:00:00:00:09")
    ip("address", "add", "192.0.2.2/24", "dev", "cable")
    machine.ip("address", "add", "192.0.2.9/24", "dev", "eth0")
    yield machine
    machine.close()


def test_connections_are_forgotten(peer: Machine) -> None:
    # Connections are only tracked where a rule asks for it.
    tracking = "add table ip t; add chain ip t c { type nat hook postrouting priority srcnat; }"
    masquerade = "add rule ip t c udp dport 4000 masquerade"
    subprocess.run(["nft", f"{tracking}; {masquerade}"], check=True)
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        for port in (4000, 4001):
            peer.socket(socket.SOCK_DGRAM, port)
            sock.sendto(b"?", ("192.0.2.9", port))
        found: list[Any] = []

        def matches(each: Any) -> bool:
            found.append(each)
            return bool(each.port == 4000)

        needle = socket.inet_aton("192.0.2.9")
        assert conntrack.forget(needle, matches) == 1
        assert {each.port for each in found} == {4000, 4001}
        assert {(str(each.source), str(each.answers), each.protocol) for each in found} == {
            ("192.0.2.2", "192.0.2.9", "udp")
        }
        assert conntrack.forget(needle, matches) == 0
        assert conntrack.forget(socket.inet_aton("192.0.2.77"), lambda each: True) == 0
    subprocess.run(["nft", "delete table ip t"], check=True)
