from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Any

import pytest

from banger.host import links
from banger.host.netlink import (
    Bridge,
    create_tap,
    delete_bridge,
    ensure_bridge,
    find_bridge,
    lease_tap,
    release_tap,
)
from banger.kernel.errors import Conflict, HostNotReady, UsageError

Ip = Callable[..., list[dict[str, Any]]]

GATEWAY = IPv4Interface("10.213.0.1/22")
OTHER = IPv4Interface("10.177.0.1/22")


def addresses(ip: Ip, name: str = "br-t") -> list[str]:
    (link,) = ip("addr", "show", "dev", name)
    return [f"{a['local']}/{a['prefixlen']}" for a in link["addr_info"] if a["family"] == "inet"]


def test_made_from_nothing(ip: Ip) -> None:
    bridge = ensure_bridge("br-t", GATEWAY)

    (link,) = ip("-d", "link", "show", "dev", "br-t")
    assert bridge == Bridge("br-t", link["ifindex"], GATEWAY)
    assert "UP" in link["flags"]
    data = link["linkinfo"]["info_data"]
    assert (data["stp_state"], data["forward_delay"]) == (0, 0)
    assert int(link["address"][:2], 16) & 0b11 == 0b10  # unicast, locally administered
    assert addresses(ip) == [str(GATEWAY)]
    assert find_bridge("br-t") == bridge


def test_no_ipv6_of_its_own(ip: Ip) -> None:
    ensure_bridge("br-t", GATEWAY)
    create_tap("t0", bridge="br-t")
    lease_tap("t0", "t1", alias="vm")
    for name in ("br-t", "t1"):
        conf = Path("/proc/sys/net/ipv6/conf", name)
        if conf.exists():
            assert (conf / "disable_ipv6").read_text() == "1\n"
            assert (conf / "accept_ra").read_text() == "0\n"
        (link,) = ip("-6", "addr", "show", "dev", name) or [{}]
        assert not link.get("addr_info")


def test_idempotent_with_the_same_mac_after_ports_and_remaking(ip: Ip, veth: str) -> None:
    first = ensure_bridge("br-t", GATEWAY)
    mac = ip("link", "show", "dev", "br-t")[0]["address"]
    ip("link", "set", veth, "address", "00:00:00:00:00:02", "master", "br-t", "up")

    assert ensure_bridge("br-t", GATEWAY) == first
    assert ip("link", "show", "dev", "br-t")[0]["address"] == mac
    delete_bridge("br-t")
    ensure_bridge("br-t", GATEWAY)
    assert ip("link", "show", "dev", "br-t")[0]["address"] == mac


def test_adopts_a_bare_bridge_and_keeps_its_mac(ip: Ip, veth: str) -> None:
    ip("link", "add", "br-t", "type", "bridge", "stp_state", "1", "forward_delay", "1500")
    before = ip("link", "show", "dev", "br-t")[0]

    bridge = ensure_bridge("br-t", GATEWAY)

    ip("link", "set", veth, "address", "00:00:00:00:00:02", "master", "br-t", "up")
    (link,) = ip("-d", "link", "show", "dev", "br-t")
    assert (link["ifindex"], link["address"]) == (before["ifindex"], before["address"])
    assert bridge.index == before["ifindex"]
    data = link["linkinfo"]["info_data"]
    assert (data["stp_state"], data["forward_delay"]) == (0, 0)
    assert addresses(ip) == [str(GATEWAY)]


def test_adopts_one_with_a_second_address_of_our_subnet(ip: Ip) -> None:
    ip("link", "add", "br-t", "type", "bridge")
    ip("addr", "add", "10.213.0.9/22", "dev", "br-t")
    ensure_bridge("br-t", GATEWAY)
    assert set(addresses(ip)) == {"10.213.0.9/22", str(GATEWAY)}


@pytest.mark.parametrize("address", ["192.0.2.1/24", "10.213.0.1/24"])
def test_a_foreign_bridge_with_another_subnet_is_left_alone(ip: Ip, address: str) -> None:
    ip("link", "add", "br-t", "type", "bridge", "stp_state", "1")
    ip("addr", "add", address, "dev", "br-t")
    with pytest.raises(Conflict, match=address):
        ensure_bridge("br-t", GATEWAY)
    assert addresses(ip) == [address]
    assert ip("-d", "link", "show", "dev", "br-t")[0]["linkinfo"]["info_data"]["stp_state"] == 1


def test_our_own_idle_bridge_changes_its_subnet(ip: Ip) -> None:
    ensure_bridge("br-t", OTHER)
    ip("addr", "add", "10.177.0.7/22", "dev", "br-t")
    create_tap("t0", bridge="br-t")
    assert ensure_bridge("br-t", GATEWAY).gateway == GATEWAY
    assert addresses(ip) == [str(GATEWAY)]


def test_our_own_bridge_in_use_keeps_its_subnet(ip: Ip) -> None:
    ensure_bridge("br-t", OTHER)
    create_tap("t0", bridge="br-t")
    lease_tap("t0", "t0-vm", alias="vm")
    with pytest.raises(Conflict, match=r"10\.177\.0\.1/22.*stop the VMs"):
        ensure_bridge("br-t", GATEWAY)
    assert addresses(ip) == [str(OTHER)]
    release_tap("t0-vm", "t0")
    ensure_bridge("br-t", GATEWAY)


@pytest.mark.parametrize("operation", [lambda n: ensure_bridge(n, GATEWAY), delete_bridge])
def test_another_kind_of_interface_is_refused(
    ip: Ip, veth: str, operation: Callable[[str], object]
) -> None:
    with pytest.raises(Conflict, match=r"veth exists and is not a bridge \(veth\)"):
        operation(veth)
    with pytest.raises(Conflict, match="lo exists and is not a bridge"):
        operation("lo")
    assert ip("link", "show", "dev", veth)


def test_failure_half_way_leaves_no_bridge(ip: Ip, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(links, "silence_ipv6", fail)
    with pytest.raises(HostNotReady, match=r"set up bridge br-t with.*ENOMEM"):
        ensure_bridge("br-t", GATEWAY)
    assert find_bridge("br-t") is None


def test_finding_and_deleting_nothing(ip: Ip) -> None:
    assert find_bridge("br-t") is None
    assert find_bridge("lo") is None
    delete_bridge("br-t")
    ip("link", "add", "br-t", "type", "bridge")
    found = find_bridge("br-t")
    assert found is not None
    assert found.gateway is None
    delete_bridge("br-t")
    assert find_bridge("br-t") is None


@pytest.mark.parametrize(
    "name", ["", "a" * 16, "ä" * 8, "a/b", "a b", "a:b", "tap%d", "..", ".", "-x", "all", "default"]
)
def test_impossible_names(name: str) -> None:
    with pytest.raises(UsageError):
        ensure_bridge(name, GATEWAY)
    with pytest.raises(UsageError):
        create_tap(name, bridge="br-t")
