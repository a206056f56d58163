"""The capability in the daemon's hands, on a host in memory."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from banger.capabilities import (
    BangerError,
    CommandCall,
    Conflict,
    HostNotReady,
    Level,
    NotFound,
    Rules,
    UsageError,
)
from banger.kernel.errors import CommandFailed
from banger.testing import FakeDaemon, Life, conformance, life
from banger.testing.life import InjectedFault
from nat_machine import Machine

from banger_nat import ports
from banger_nat.capability import Nat
from banger_nat.conntrack import Connection

FORWARD, ROUTE_LOCALNET = "net/ipv4/ip_forward", "net/ipv4/conf/banger0/route_localnet"


@pytest.fixture
def daemon(machine: Machine, tmp_path: Path) -> FakeDaemon:
    return FakeDaemon(Nat, tmp_path / "state")


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


def rules_of(vm: Life) -> Rules:
    return vm.host.firewall.rules.get(vm.vm.id, Rules())


@pytest.mark.parametrize(
    "options", [{}, {"enabled": False}, {"egress": ["10.0.0.0/8:443"], "enabled": True}]
)
async def test_conformance(machine: Machine, tmp_path: Path, options: dict[str, Any]) -> None:
    await conformance(Nat, tmp_path / "state", options=options)


async def test_conformance_with_a_port(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A daemon that is killed has lost its sockets; one that is only forgotten has not.
    monkeypatch.setattr(ports, "bind", lambda wanted: ExitStack())
    options = {"publish": ["127.0.0.1:8080:80"]}
    await conformance(Nat, tmp_path / "state", options=options)


async def test_nat_is_on_unless_a_setting_says_otherwise(machine: Machine, tmp_path: Path) -> None:
    async with life(Nat, tmp_path / "on") as vm:
        assert "masquerade" in rules_of(vm).postrouting[0]
        assert machine[FORWARD] == "1"
        await vm.change(enabled=False)
        assert rules_of(vm) == Rules()
        assert machine[FORWARD] == "0"
        await vm.change(enabled=True)
    assert machine[FORWARD] == "0"
    async with life(Nat, tmp_path / "off", settings={"default": False}) as vm:
        assert rules_of(vm) == Rules()


async def test_the_default_route_is_followed(machine: Machine, tmp_path: Path) -> None:
    machine.uplinks = ()
    async with life(Nat, tmp_path) as vm:
        nat = vm._daemon.capability
        assert isinstance(nat, Nat)
        assert rules_of(vm) == Rules()
        machine.uplinks = ("wlan0",)
        await nat._look_at_uplinks()
        assert 'oifname { "wlan0" }' in rules_of(vm).forward[0]
        await nat._look_at_uplinks()
        assert [event.data for event in vm.host.events] == [{"interfaces": ["wlan0"]}]
        machine.uplinks = ()
        await nat._look_at_uplinks()
        assert rules_of(vm) == Rules()


async def test_an_interface_that_was_chosen(machine: Machine, tmp_path: Path) -> None:
    async with life(Nat, tmp_path / "1", settings={"interface": "wg0, eth1"}) as vm:
        assert 'oifname { "wg0", "eth1" }' in rules_of(vm).forward[0]
    async with life(Nat, tmp_path / "2", settings={"interface": "all"}) as vm:
        assert 'oifname != { "banger0", "lo" }' in rules_of(vm).forward[0]
    with pytest.raises(AssertionError, match="no name of an interface"):
        FakeDaemon(Nat, tmp_path / "3", settings={"interface": 'eth0" accept'})


@pytest.mark.parametrize(
    ("interface", "level", "word"),
    [
        ("all", Level.OK, "every interface"),
        ("lo", Level.OK, "leave by lo"),
        ("lo,no-such0", Level.WARNING, "no interface no-such0"),
        ("no-such0", Level.FAILED, "no interface no-such0"),
    ],
)
async def test_an_interface_that_is_not_there_is_a_finding(
    machine: Machine, tmp_path: Path, interface: str, level: Level, word: str
) -> None:
    daemon = FakeDaemon(Nat, tmp_path, settings={"interface": interface})
    (finding,) = await daemon.capability.checks()[0].run()
    assert finding.level is level
    assert word in finding.summary


@pytest.mark.parametrize("address", ["224.0.0.1", "239.1.2.3", "255.255.255.255", "240.0.0.1"])
async def test_an_address_that_no_host_has_is_refused(daemon: FakeDaemon, address: str) -> None:
    publish = [f"{address}:8080:80"]
    with pytest.raises(UsageError, match=f"no host has the address {address}"):
        await daemon.create("web", {"publish": publish}, start=False)
    assert daemon.host.state() == {} and not daemon.lives
    vm = await daemon.create("web", start=False)
    with pytest.raises(UsageError, match="no host has"):
        await vm.change(publish=publish)
    await vm.delete()


async def test_egress_without_nat_is_refused(daemon: FakeDaemon) -> None:
    """But what a VM had stays with it when its NAT is turned off."""
    egress = ["10.0.0.0/8"]
    with pytest.raises(UsageError, match="--egress"):
        await daemon.create("web", {"enabled": False, "egress": egress})
    assert daemon.host.state() == {} and not daemon.lives
    vm = await daemon.create("web", {"egress": egress})
    await vm.change(enabled=False)
    with pytest.raises(UsageError, match="--egress"):
        await vm.change(egress=["192.0.2.0/24"])
    await vm.stop()
    await vm.start()
    await vm.change(enabled=True)
    assert "10.0.0.0/8" in rules_of(vm).forward[0]
    await vm.change(enabled=False, egress=["none"])
    await vm.delete()


async def test_a_taken_port_is_refused_before_anything_is_made(
    daemon: FakeDaemon, taken: int
) -> None:
    with pytest.raises(Conflict, match=f"{taken}/tcp of this host is taken"):
        await daemon.create("web", {"publish": [f"127.0.0.1:{taken}:80"]})
    assert daemon.host.state() == {}
    vm = await daemon.create("web")
    with pytest.raises(Conflict, match=f"{taken}/tcp of this host is taken"):
        await vm.change(publish=[f"127.0.0.1:{taken}:80"])
    assert not rules_of(vm).output
    await vm.delete()


async def test_of_two_creates_with_one_port_one_wins(daemon: FakeDaemon, free_port: int) -> None:
    options = {"publish": [f"127.0.0.1:{free_port}:80"]}
    refused: list[BangerError] = []

    async def create(name: str) -> None:
        try:
            await daemon.create(name, options)
        except BangerError as error:
            refused.append(error)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(create, "one")
        nursery.start_soon(create, "two")
    (error,) = refused
    assert isinstance(error, Conflict)
    (winner,) = daemon.lives.values()
    assert list(daemon.host.firewall.rules) == [winner.vm.id]
    await winner.delete()
    assert daemon.host.state() == {}


async def test_a_stopped_vm_reserves_nothing(daemon: FakeDaemon, free_port: int) -> None:
    options = {"publish": [f"127.0.0.1:{free_port}:80"]}
    one = await daemon.create("one", options)
    await one.stop()
    two = await daemon.create("two", options)
    # What has nothing to do with it can still be changed.
    await one.change(enabled=False)
    with pytest.raises(Conflict, match="published by VM 'two'"):
        await one.start()
    await two.stop()
    await one.start()
    await one.delete()
    await two.delete()


async def test_a_change_that_fails_later_gives_the_old_ports_back(
    daemon: FakeDaemon, free_port: int, machine: Machine
) -> None:
    publish = [f"127.0.0.1:{free_port}:80"]
    vm = await daemon.create("web", {"publish": publish})
    before = daemon.host.state()
    with pytest.raises(InjectedFault):
        await vm.change(fail_after="changed", publish=["none"], enabled=False)
    assert daemon.host.state() == before
    assert machine[FORWARD] == machine[ROUTE_LOCALNET] == "1"
    with pytest.raises(OSError, match="in use"), closing(socket.socket()) as sock:
        sock.bind(("127.0.0.1", free_port))
    await vm.delete()


async def test_rules_that_are_refused_leave_nothing(
    daemon: FakeDaemon, free_port: int, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(key: str, rules: Rules) -> None:
        raise CommandFailed(["nft"], 1, "no")

    monkeypatch.setattr(daemon.host.firewall, "put", refuse)
    with pytest.raises(CommandFailed):
        await daemon.create("web", {"publish": [f"127.0.0.1:{free_port}:80"]})
    assert daemon.host.state() == {}
    assert machine[FORWARD] == machine[ROUTE_LOCALNET] == "0"
    socket.create_server(("127.0.0.1", free_port)).close()


async def test_a_port_taken_while_no_daemon_ran(
    daemon: FakeDaemon, taken: int, caplog: pytest.LogCaptureFixture
) -> None:
    vm = await daemon.create("web", {"publish": ["none"]})
    before = rules_of(vm)
    vm.options["nat"]["publish"] = [f"127.0.0.1:{taken}:80"]
    await daemon.restart()
    assert rules_of(vm).forward == before.forward
    assert f"dport {taken}" in rules_of(vm).output[0]
    assert "is taken by" in caplog.text
    await vm.delete()


async def test_what_is_cut_off(daemon: FakeDaemon, free_port: int, machine: Machine) -> None:
    vm = await daemon.create("web", {"publish": [f"127.0.0.1:{free_port}:80/udp"]})
    guest, other = IPv4Address(vm.vm.address), IPv4Address("127.0.0.1")

    def outgoing(to: str = "192.0.2.1") -> Connection:
        return Connection(guest, IPv4Address(to), "tcp", 443, masqueraded=True, led=False)

    def incoming(port: int) -> Connection:
        return Connection(other, guest, "udp", port, masqueraded=False, led=True)

    def stray(port: int) -> Connection:
        return Connection(other, other, "udp", port, masqueraded=False, led=False)

    def cut(connection: Connection) -> bool:
        return any(matches(connection) for matches in machine.searched)

    assert [cut(stray(port)) for port in (free_port, 9)] == [True, False]
    assert not cut(outgoing()) and not cut(incoming(free_port))
    machine.searched.clear()
    await vm.change(egress=["10.0.0.0/8"])
    assert cut(outgoing()) and not cut(outgoing("10.0.0.1")) and not cut(incoming(free_port))
    machine.searched.clear()
    await vm.change(publish=["none"])
    assert cut(incoming(free_port)) and not cut(incoming(9)) and not cut(outgoing("10.0.0.1"))
    machine.searched.clear()
    await vm.delete()
    assert cut(outgoing())


async def test_checks(daemon: FakeDaemon, machine: Machine) -> None:
    vm = await daemon.create("web")
    uplink, forwarding = daemon.capability.checks()
    assert [f.level for f in await uplink.run()] == [Level.OK]
    assert [f.level for f in await forwarding.run()] == [Level.OK]
    machine.uplinks = ()
    assert [f.level for f in await uplink.run()] == [Level.WARNING]
    machine[FORWARD] = "0"
    (finding,) = await forwarding.run()
    assert finding.level is Level.FAILED and finding.fixable
    assert forwarding.fix is not None
    assert "net/ipv4/ip_forward" in await forwarding.fix()
    assert [f.level for f in await forwarding.run()] == [Level.OK]
    await vm.delete()


# --- commands ---


async def run(daemon: FakeDaemon, method: str, **parameters: Any) -> tuple[Any, list[str]]:
    lines: list[str] = []

    async def write(text: str) -> None:
        lines.append(text.rstrip("\n"))

    call = CommandCall(parameters, write)
    assert await getattr(daemon.capability, method)(call) == 0
    return call.document, lines


async def test_ports_are_added_listed_and_removed(daemon: FakeDaemon, free_port: int) -> None:
    vm = await daemon.create("web")
    await daemon.create("idle", {"publish": ["9:9"]}, start=False)
    port = f"127.0.0.1:{free_port}:80"
    document, lines = await run(daemon, "port_add", name="web", ports=[port, f"{port}/udp"])
    assert [(p.vm, p.address, p.host_port, p.guest_port, p.protocol) for p in document] == [
        ("web", "127.0.0.1", free_port, 80, protocol) for protocol in ("tcp", "udp")
    ]
    assert lines[0].split() == ["VM", "HOST", "GUEST"]
    assert len(rules_of(vm).output) == 2
    assert await run(daemon, "port_add", name="web", ports=[port]) == (document, lines)
    listed, _ = await run(daemon, "port_list", names=[])
    assert [p.vm for p in listed] == ["idle", "web", "web"]
    document, _ = await run(daemon, "port_remove", name="web", ports=[f"{free_port}/udp"])
    assert [p.protocol for p in document] == ["tcp"]
    document, lines = await run(daemon, "port_remove", name="web", ports=[str(free_port)])
    assert document == [] and len(lines) == 1
    assert not rules_of(vm).output
    for each in list(daemon.lives.values()):
        await each.delete()


async def test_ports_added_and_set_at_once_are_all_there(daemon: FakeDaemon) -> None:
    """Adding decides on what the VM has at that moment, not on what it had before."""
    vm = await daemon.create("web", start=False)
    change_options = daemon.host.change_options

    async def after_others(name: str, options: Any) -> None:
        await vm.change(publish=["0.0.0.0:1:1/tcp"])
        await change_options(name, options)

    daemon.host.change_options = after_others  # type: ignore[method-assign,assignment]
    document, _ = await run(daemon, "port_add", name="web", ports=["2:2"])
    assert [port.host_port for port in document] == [1, 2]
    await vm.delete()


@pytest.mark.parametrize(
    ("method", "parameters", "error"),
    [
        ("port_add", {"name": "web", "ports": ["80"]}, UsageError),
        ("port_add", {"name": "nobody", "ports": ["80:80"]}, NotFound),
        ("port_remove", {"name": "web", "ports": ["80"]}, NotFound),
        ("port_remove", {"name": "web", "ports": ["x"]}, UsageError),
        ("port_list", {"names": ["nobody"]}, NotFound),
    ],
)
async def test_commands_that_are_refused(
    daemon: FakeDaemon, method: str, parameters: dict[str, Any], error: type[BangerError]
) -> None:
    vm = await daemon.create("web", start=False)
    with pytest.raises(error):
        await run(daemon, method, **parameters)
    await vm.delete()


async def test_a_host_that_can_not_forward(daemon: FakeDaemon, machine: Machine) -> None:
    path = Nat.proc_sys / FORWARD
    path.unlink()
    path.mkdir()
    with pytest.raises(HostNotReady, match="--no-nat"):
        await daemon.create("web")
    vm = await daemon.create("web", {"enabled": False})
    await vm.delete()
