"""The base rules with real nftables: machines on a bridge, and one outside."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Any

import pytest
import trio

from banger.actors.firewall import (
    DescribeFirewall,
    Firewall,
    FirewallState,
    PinTap,
    PutRules,
    RemoveRules,
    UnpinTap,
)
from banger.host import nftables
from banger.host.bridge_options import ignore_link_local_senders
from banger.host.netlink import ensure_bridge
from banger.host.ruleset import render, table_name
from banger.kernel.actor import Ref
from banger.kernel.bus import Bus, Subscription
from banger.kernel.errors import CommandFailed
from banger.kernel.supervisor import Supervisor
from banger.model.firewall import FirewallRestored, Pin, Rules
from banger.model.network import Network
from tests.namespaces import TIMEOUT_S, Machine, arp, frame, udp

BRIDGE = "banger-t"
TABLE = table_name(BRIDGE)
GATEWAY = IPv4Interface("10.213.0.1/22")
EVERYBODY = "ff:ff:ff:ff:ff:ff"
MARK = b"the end of the test"
SECRET = b"should not have come"


class Guest(Machine):
    def __init__(self, number: int) -> None:
        self.address = f"10.213.0.{number}"
        super().__init__(f"tap-{number}", f"02:fc:0a:d5:00:{number:02x}")
        self.ip("addr", "add", f"{self.address}/22", "dev", "eth0")
        self.ip("route", "add", "default", "via", str(GATEWAY.ip))
        host("ip", "link", "set", self.port, "master", BRIDGE)

    def pin(self, *, isolated: bool = False) -> Pin:
        return Pin(self.port, self.mac, self.address, isolated)

    @property
    def place(self) -> tuple[str, str]:
        return self.mac, self.address


def host(*argv: str, text: str = "") -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True, input=text).stdout


def ruleset() -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = json.loads(host("nft", "-j", "list", "ruleset"))["nftables"]
    return [each for each in listed if "metainfo" not in each]


def forward_between_cards() -> None:
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def bridge_mac() -> str:
    # Not from /sys, which shows the namespace that it was mounted in.
    (link,) = json.loads(host("ip", "-j", "link", "show", BRIDGE))
    return str(link["address"])


@pytest.fixture(autouse=True)
def clean_rules(clean_namespace: None) -> Iterator[None]:
    host("nft", "flush", "ruleset")
    Path("/proc/sys/net/ipv4/ip_forward").write_text("0")
    yield
    host("nft", "flush", "ruleset")


@pytest.fixture
def guests(clean_rules: None) -> Iterator[tuple[Guest, Guest]]:
    ensure_bridge(BRIDGE, GATEWAY)
    with contextlib.ExitStack() as stack:
        made = []
        for number in (2, 3):
            made.append(Guest(number))
            stack.callback(made[-1].close)
        yield made[0], made[1]


@pytest.fixture
def outside(clean_rules: None) -> Iterator[Machine]:
    """A machine that the host routes to, and that knows no way back into the VMs' subnet."""
    machine = Machine("uplink", "02:00:00:00:00:01")
    host("ip", "addr", "add", "192.0.2.1/24", "dev", "uplink")
    machine.ip("addr", "add", "192.0.2.2/24", "dev", "eth0")
    machine.ip("addr", "add", "169.254.169.254/32", "dev", "eth0")
    host("ip", "route", "add", "169.254.169.254/32", "dev", "uplink")
    forward_between_cards()
    yield machine
    machine.close()


def install(*pins: Pin, rules: Rules | None = None) -> None:
    by_owner = {("test", "all"): rules} if rules else {}
    nftables.apply(render(TABLE, BRIDGE, GATEWAY.ip, pins, by_owner))


def heard(wire: socket.socket) -> list[bytes]:
    """Every frame until the one with the mark."""
    frames: list[bytes] = []
    while not frames or MARK not in frames[-1]:
        frames.append(wire.recv(4096))
    return frames


def datagrams(receiver: socket.socket) -> list[bytes]:
    """What came before the mark, without it."""
    received = []
    while (data := receiver.recv(4096)) != MARK:
        received.append(data)
    return received


def probe(data: bytes, sender: str, source_port: int = 1000) -> bytes:
    return udp((sender, source_port), ("10.213.0.3", 9), data)


def tagged(packet: bytes) -> bytes:
    return struct.pack("!HH", 5, 0x0800) + packet


def llc(packet: bytes) -> bytes:
    """RFC 1042: IP in a frame that has a length where others have their type."""
    return bytes.fromhex("aaaa03000000 0800") + packet


def router_advertisement(data: bytes) -> bytes:
    """RFC 4861, from fe80::1 to all nodes."""
    message = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0) + data
    header = struct.pack("!IHBB", 6 << 28, len(message), 58, 255)
    return header + bytes.fromhex(f"fe80{1:028x}ff02{1:028x}") + message


A, B = ("02:fc:0a:d5:00:02", "10.213.0.2"), ("02:fc:0a:d5:00:03", "10.213.0.3")
FALSE_MAC, FALSE_ADDRESS = "02:fc:0a:d5:00:99", "10.213.0.99"
FORGED = {
    "mac": frame(B[0], FALSE_MAC, 0x0800, probe(SECRET, A[1])),
    "address": frame(B[0], A[0], 0x0800, probe(SECRET, FALSE_ADDRESS)),
    "mac-and-address-of-another": frame(EVERYBODY, B[0], 0x0800, probe(SECRET, B[1])),
    "address-of-the-host": frame(B[0], A[0], 0x0800, probe(SECRET, str(GATEWAY.ip))),
    "vlan": frame(B[0], A[0], 0x8100, tagged(probe(SECRET, A[1]))),
    "service-vlan": frame(B[0], A[0], 0x88A8, tagged(probe(SECRET, A[1]))),
    "llc": frame(B[0], A[0], 8 + len(probe(SECRET, A[1])), llc(probe(SECRET, A[1]))),
    "dhcp-server": frame(EVERYBODY, A[0], 0x0800, probe(SECRET, A[1], 67)),
    "dhcp-client": frame(EVERYBODY, A[0], 0x0800, probe(SECRET, "0.0.0.0", 68)),
    "ipv6": frame(B[0], A[0], 0x86DD, router_advertisement(SECRET)),
    "other-ethertype": frame(B[0], A[0], 0x88B5, SECRET),
    "metadata": frame(B[0], A[0], 0x0800, udp((A[1], 9), ("169.254.169.254", 80), SECRET)),
    "arp-address": frame(B[0], A[0], 0x0806, arp(2, (A[0], FALSE_ADDRESS), B) + SECRET),
    "arp-gateway": frame(B[0], A[0], 0x0806, arp(2, (A[0], str(GATEWAY.ip)), B) + SECRET),
    "arp-mac": frame(B[0], A[0], 0x0806, arp(2, (FALSE_MAC, A[1]), B) + SECRET),
    "arp-frame-mac": frame(B[0], FALSE_MAC, 0x0806, arp(2, A, B) + SECRET),
    "arp-probe": frame(EVERYBODY, A[0], 0x0806, arp(1, (A[0], "0.0.0.0"), B) + SECRET),
    "rarp": frame(EVERYBODY, A[0], 0x8035, arp(3, A, A) + SECRET),
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
def test_forged_frames_are_cut_off(guests: tuple[Guest, Guest], forged: bytes) -> None:
    first, second = guests
    sender, receiver = first.wire(), second.wire()
    # To everybody: what was forged may have told the bridge that the second is elsewhere.
    mark = frame(EVERYBODY, A[0], 0x0800, probe(MARK, A[1]))

    def arrives() -> bool:
        sender.send(forged)
        sender.send(mark)
        return any(SECRET in each for each in heard(receiver))

    assert arrives()
    install(first.pin(), second.pin())
    assert not arrives()


def test_what_is_pinned_passes(guests: tuple[Guest, Guest]) -> None:
    install(*(guest.pin() for guest in guests))
    first, second = guests
    receiver = second.socket(socket.SOCK_DGRAM, 2000)
    first.socket(socket.SOCK_DGRAM).sendto(b"hello", (second.address, 2000))
    data, (address, _) = receiver.recvfrom(100)
    assert (data, address) == (b"hello", first.address)


def test_no_address_is_learned_from_a_link_local_frame(guests: tuple[Guest, Guest]) -> None:
    """Such frames, LLDP's, pass no hook before the bridge learns."""
    first, second = guests
    forged = frame("01:80:c2:00:00:0e", FALSE_MAC, 0x88CC, b"")
    mark = frame(B[0], A[0], 0x0800, probe(MARK, A[1]))
    sender, receiver = first.wire(), second.wire()

    def learned() -> bool:
        sender.send(forged)
        sender.send(mark)
        heard(receiver)
        return FALSE_MAC in host("bridge", "fdb", "show", "br", BRIDGE)

    assert not learned()
    host("ip", "link", "set", BRIDGE, "type", "bridge", "no_linklocal_learn", "0")
    assert learned()
    host("bridge", "fdb", "del", FALSE_MAC, "dev", first.port, "master")
    ignore_link_local_senders(socket.if_nametoindex(BRIDGE))
    assert not learned()


@pytest.mark.parametrize("isolated", [0, 1])
def test_an_isolated_guest_has_the_host_only(guests: tuple[Guest, Guest], isolated: int) -> None:
    first, second = guests
    forward_between_cards()
    receiver, wire = second.socket(socket.SOCK_DGRAM, 9), first.wire()
    marker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    to_guest = frame(second.mac, first.mac, 0x0800, probe(SECRET, first.address))
    by_the_host = frame(bridge_mac(), first.mac, 0x0800, probe(SECRET, first.address))

    def arriving() -> int:
        wire.send(to_guest)
        wire.send(by_the_host)
        marker.sendto(MARK, (second.address, 9))
        return len(datagrams(receiver))

    with marker:
        install(first.pin(), second.pin())
        assert arriving() == 2
        pins = [guest.pin(isolated=number == isolated) for number, guest in enumerate(guests)]
        install(*pins)
        assert arriving() == 0
        name_server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with name_server:
            name_server.bind((str(GATEWAY.ip), 53))
            name_server.settimeout(TIMEOUT_S)
            guests[isolated].socket(socket.SOCK_DGRAM).sendto(b"?", (str(GATEWAY.ip), 53))
            assert name_server.recv(10) == b"?"


def test_of_the_host_a_guest_reaches_name_service_only(
    guests: tuple[Guest, Guest], outside: Machine
) -> None:
    first, _ = guests
    Path(f"/proc/sys/net/ipv4/conf/{BRIDGE}/route_localnet").write_text("1")
    wire = first.wire()
    targets = [(str(GATEWAY.ip), 54), ("192.0.2.1", 53), ("127.0.0.1", 53)]
    with contextlib.ExitStack() as stack:
        # One socket hears all, so the mark comes last.
        ports = {}
        for port in (53, 54):
            ports[port] = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            ports[port].bind(("", port))
            ports[port].settimeout(TIMEOUT_S)

        def arriving() -> list[bytes]:
            for target in targets:
                packet = udp((first.address, 1000), target, f"{target}".encode())
                wire.send(frame(bridge_mac(), first.mac, 0x0800, packet))
            mark = udp((first.address, 1000), (str(GATEWAY.ip), 53), MARK)
            wire.send(frame(bridge_mac(), first.mac, 0x0800, mark))
            got = datagrams(ports[53])
            ports[54].setblocking(False)
            with contextlib.suppress(BlockingIOError):
                got.append(ports[54].recv(100))
            return got

        assert len(arriving()) == len(targets)
        install(first.pin())
        assert arriving() == []
        install(first.pin(), rules=Rules(input=("udp dport 54 accept",)))
        assert arriving() == [f"{targets[0]}".encode()]


def test_tcp_both_ways(guests: tuple[Guest, Guest]) -> None:
    first, _ = guests
    install(first.pin())
    listener = first.socket(socket.SOCK_STREAM, 80)
    listener.listen()
    with socket.create_connection((first.address, 80), timeout=TIMEOUT_S) as connection:
        connection.sendall(b"from the host")
        inner, _ = listener.accept()
        with inner:
            assert inner.recv(100) == b"from the host"
    with socket.create_server((str(GATEWAY.ip), 53)) as server:
        server.settimeout(TIMEOUT_S)
        first.socket(socket.SOCK_STREAM).connect((str(GATEWAY.ip), 53))
        server.accept()[0].close()


def test_a_tap_that_is_not_pinned_reaches_no_host_and_no_world(
    guests: tuple[Guest, Guest], outside: Machine
) -> None:
    first, second = guests
    everything = Rules(forward=("accept",), input=("accept",))
    receiver = outside.socket(socket.SOCK_DGRAM, 9)
    sender = second.socket(socket.SOCK_DGRAM)
    marker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def arriving() -> list[bytes]:
        sender.sendto(SECRET, ("192.0.2.2", 9))
        marker.sendto(MARK, ("192.0.2.2", 9))
        return datagrams(receiver)

    with marker:
        install(first.pin(), second.pin(), rules=everything)
        assert arriving() == [SECRET]
        install(first.pin(), rules=everything)
        assert arriving() == []


NAT = Rules(
    forward=(f'iifname "{BRIDGE}" accept',),
    postrouting=(f'ip saddr {GATEWAY.network} oifname != "{BRIDGE}" masquerade',),
)


def test_the_world_needs_a_rule(guests: tuple[Guest, Guest], outside: Machine) -> None:
    first, _ = guests
    receiver = outside.socket(socket.SOCK_DGRAM, 9)
    sender = first.socket(socket.SOCK_DGRAM, 1000)
    marker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def arriving() -> list[bytes]:
        sender.sendto(SECRET, ("192.0.2.2", 9))
        marker.sendto(MARK, ("192.0.2.2", 9))
        return datagrams(receiver)

    with marker:
        assert arriving() == [SECRET]
        install(first.pin())
        assert arriving() == []
        install(first.pin(), rules=NAT)
        sender.sendto(b"hello", ("192.0.2.2", 9))
        data, source = receiver.recvfrom(100)
        assert (data, source[0]) == (b"hello", "192.0.2.1")
        receiver.sendto(b"and back", source)
        assert sender.recv(100) == b"and back"


def test_the_world_does_not_reach_guests(guests: tuple[Guest, Guest], outside: Machine) -> None:
    first, _ = guests
    outside.ip("route", "add", str(GATEWAY.network), "via", "192.0.2.1")
    receiver = first.socket(socket.SOCK_DGRAM, 9)
    sender = outside.socket(socket.SOCK_DGRAM)
    marker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def arriving() -> list[bytes]:
        sender.sendto(SECRET, (first.address, 9))
        marker.sendto(MARK, (first.address, 9))
        return datagrams(receiver)

    with marker:
        assert arriving() == [SECRET]
        install(first.pin(), rules=NAT)
        assert arriving() == []


def test_the_metadata_address_is_for_nobody(guests: tuple[Guest, Guest], outside: Machine) -> None:
    first, _ = guests
    receiver = outside.socket(socket.SOCK_DGRAM, 80)
    sender = first.socket(socket.SOCK_DGRAM)

    def arriving() -> list[bytes]:
        sender.sendto(SECRET, ("169.254.169.254", 80))
        sender.sendto(MARK, ("192.0.2.2", 80))
        return datagrams(receiver)

    assert arriving() == [SECRET]
    install(first.pin(), rules=Rules(forward=("accept",)))
    assert arriving() == []


def test_a_published_port(guests: tuple[Guest, Guest], outside: Machine) -> None:
    """What an owner of nat rules can do, in both nat chains: from outside and from here."""
    first, _ = guests
    to_guest = f"udp dport 8000 dnat ip to {first.address}:80"
    install(
        first.pin(),
        rules=Rules(
            prerouting=(f'iifname != "{BRIDGE}" fib daddr type local {to_guest}',),
            output=(f"ip daddr 192.0.2.1 {to_guest}",),
            forward=(f'oifname "{BRIDGE}" ct status dnat accept',),
        ),
    )
    receiver = first.socket(socket.SOCK_DGRAM, 80)
    asker = outside.socket(socket.SOCK_DGRAM)
    asker.sendto(b"hello", ("192.0.2.1", 8000))
    data, source = receiver.recvfrom(100)
    assert data == b"hello"
    receiver.sendto(b"welcome", source)
    assert asker.recvfrom(100) == (b"welcome", ("192.0.2.1", 8000))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here:
        here.sendto(b"from here", ("192.0.2.1", 8000))
    assert receiver.recv(100) == b"from here"


FOREIGN = """
table ip filter {
    chain FORWARD {
        type filter hook forward priority 0; policy drop;
        counter
    }
}
table bridge other {
    chain before {
        type filter hook prerouting priority 0;
        ether type ip6 drop
    }
}
table inet banger0 {
    set addresses { type ipv4_addr; elements = { 192.0.2.9 } ; }
}
"""


def test_removed_nothing_is_left_and_nothing_else_has_changed() -> None:
    host("nft", "-f", "-", text=FOREIGN)
    before = ruleset()
    pin = Pin("tap-a", "02:fc:0a:d5:00:02", "10.213.0.2", isolated=True)
    install(pin, rules=NAT)
    install(pin)
    names = {("bridge", TABLE), ("inet", TABLE)}
    ours = [each for each in ruleset() if each not in before]
    assert {(o["family"], o.get("table") or o["name"]) for e in ours for o in e.values()} == names
    nftables.remove(TABLE)
    assert ruleset() == before
    nftables.remove(TABLE)
    assert ruleset() == before


def test_listings_of_one_state_are_equal() -> None:
    pins = [Pin(f"tap-{n}", f"02:fc:0a:d5:00:{n:02x}", f"10.213.0.{n}") for n in range(2, 200)]
    install(*pins)
    first = nftables.installed(TABLE)
    install(*reversed(pins))
    assert nftables.installed(TABLE) == first
    assert first.count("tap-199") == 2
    assert nftables.installed("banger-none") == ""


# --- the actor over it ---


def ready() -> trio.Event:
    event = trio.Event()
    event.set()
    return event


@asynccontextmanager
async def firewall(recovered: trio.Event) -> AsyncIterator[tuple[Ref, Subscription]]:
    bus = Bus()
    state = FirewallState()

    async def network() -> Network:
        return Network(BRIDGE, GATEWAY)

    def make() -> Firewall:
        return Firewall(bridge=BRIDGE, network=network, recovered=recovered, state=state, bus=bus)

    with trio.fail_after(30), bus.subscribe() as events:
        async with trio.open_nursery() as nursery:
            yield Supervisor(nursery).start("firewall", make).ref, events
            nursery.cancel_scope.cancel()


PIN = Pin("tap-a", "02:fc:0a:d5:00:02", "10.213.0.2")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("flush ruleset", "removed"),
        (f"delete table bridge {TABLE}", "changed"),
        (f"flush chain inet {TABLE} guest_forward", "changed"),
        (f"delete element inet {TABLE} guests {{ 10.213.0.2 }}", "changed"),
        (f"add rule inet {TABLE} guest_input accept", "changed"),
    ],
)
async def test_what_somebody_changes_is_restored(damage: str, reason: str) -> None:
    async with firewall(ready()) as (ref, events):
        await ref.ask(PinTap(PIN))
        await ref.ask(PutRules("nat", "a", NAT))
        before = nftables.installed(TABLE)
        assert "masquerade" in before
        host("nft", damage)
        with trio.fail_after(5):
            assert await anext(events) == FirewallRestored(TABLE, reason)
        assert nftables.installed(TABLE) == before
        assert (await ref.ask(DescribeFirewall())).intact


async def test_a_life() -> None:
    host("nft", "-f", "-", text=FOREIGN)
    before = ruleset()
    async with firewall(ready()) as (ref, events):
        await ref.ask(PinTap(PIN))
        with pytest.raises(CommandFailed, match="iifname nonsense"):
            await ref.ask(PutRules("bad", "a", Rules(forward=("iifname nonsense is here",))))
        await ref.ask(PutRules("nat", "a", NAT))
        report = await ref.ask(DescribeFirewall())
        assert (report.pins, report.owners, report.intact) == ((PIN,), ("nat",), True)
        await ref.ask(RemoveRules("nat"))
        assert "masquerade" not in nftables.installed(TABLE)
        await ref.ask(UnpinTap(PIN.tap))
        assert ruleset() == before
        assert events.pending() == []


async def test_the_next_daemon_keeps_what_the_last_one_made() -> None:
    async with firewall(ready()) as (ref, _):
        await ref.ask(PinTap(PIN))
        await ref.ask(PutRules("nat", "a", NAT))
    made = nftables.installed(TABLE)
    recovered = trio.Event()
    async with firewall(recovered) as (ref, events):
        await ref.ask(PinTap(PIN))
        assert nftables.installed(TABLE) == made
        await ref.ask(PutRules("nat", "a", NAT))
        recovered.set()
        while not (await ref.ask(DescribeFirewall())).intact:
            await trio.sleep(0.01)
        assert nftables.installed(TABLE) == made
        assert events.pending() == []


async def test_what_a_daemon_left_without_guests_is_removed() -> None:
    install(PIN)
    async with firewall(ready()) as (ref, _):
        assert (await ref.ask(DescribeFirewall())).pins == ()
        while nftables.installed(TABLE):
            await trio.sleep(0.01)
    assert ruleset() == []
