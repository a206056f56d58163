from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Interface, IPv4Network
from typing import Any

from banger.host.netlink import choose_subnet, ensure_bridge, host_networks

Ip = Callable[..., list[dict[str, Any]]]


def covers(text: str, *, except_bridge: str | None = None) -> bool:
    wanted = IPv4Network(text)
    return any(wanted.subnet_of(found) for found in host_networks(except_bridge=except_bridge))


def test_only_loopback_at_first() -> None:
    assert host_networks() == [IPv4Network("127.0.0.0/8")]


def test_addresses_peers_and_routes_of_all_tables_count(ip: Ip, veth: str) -> None:
    ip("addr", "add", "192.0.2.5/24", "dev", veth)
    ip("addr", "add", "10.1.2.3", "peer", "10.9.0.0/16", "dev", veth)
    ip("link", "set", veth, "up")
    ip("route", "add", "198.51.100.0/24", "via", "192.0.2.1")
    ip("route", "add", "203.0.113.0/25", "dev", veth, "table", "4242")
    ip("route", "add", "unreachable", "10.64.0.0/14")
    ip("route", "add", "local", "10.77.0.0/16", "dev", "lo")
    for text in (
        "192.0.2.0/24",
        "10.1.2.3/32",
        "10.9.0.0/16",
        "198.51.100.0/24",
        "203.0.113.0/25",
        "10.64.0.0/14",
        "10.77.0.0/16",
    ):
        assert covers(text), text
    assert not covers("203.0.113.128/25")


def test_an_address_on_an_interface_that_is_down_counts(ip: Ip, veth: str) -> None:
    ip("addr", "add", "10.213.1.1/24", "dev", veth)
    assert covers("10.213.1.0/24")
    assert choose_subnet(host_networks()) == IPv4Network("10.213.4.0/22")


def test_default_routes_do_not_count_split_or_whole(ip: Ip, veth: str) -> None:
    ip("link", "set", veth, "up")
    for dst in ("default", "0.0.0.0/1", "128.0.0.0/1"):
        ip("route", "add", dst, "dev", veth)
    ip("route", "add", "default", "dev", veth, "table", "51820")
    assert host_networks() == [IPv4Network("127.0.0.0/8")]


def test_our_bridge_can_be_left_out(ip: Ip) -> None:
    ensure_bridge("br-t", IPv4Interface("10.213.0.1/22"))
    ip("route", "add", "10.214.0.0/24", "via", "10.213.0.2")
    assert covers("10.213.0.0/22")
    assert host_networks(except_bridge="br-t") == [IPv4Network("127.0.0.0/8")]
    assert covers("10.213.0.0/22", except_bridge="none")
    assert choose_subnet(host_networks()) == IPv4Network("10.213.4.0/22")
    assert choose_subnet(host_networks(except_bridge="br-t")) == IPv4Network("10.213.0.0/22")


def test_a_vpn_over_all_of_ten(ip: Ip, veth: str) -> None:
    ip("link", "set", veth, "up")
    ip("route", "add", "10.0.0.0/8", "dev", veth)
    assert choose_subnet(host_networks()) == IPv4Network("192.168.208.0/22")
