"""The rules, word by word; tests/host has nft read them."""

from __future__ import annotations

from ipaddress import IPv4Interface

from banger.capabilities import Network, Rules

from banger_nat.options import NatOptions
from banger_nat.rules import rules_for

NETWORK = Network("banger0", IPv4Interface("10.213.0.1/22"))
GUEST = "10.213.0.2"


def test_nat_alone() -> None:
    assert rules_for(GUEST, NETWORK, NatOptions(), ("eth0",)) == Rules(
        forward=('iifname "banger0" oifname { "eth0" } ip saddr 10.213.0.2 accept',),
        postrouting=('oifname { "eth0" } ip saddr 10.213.0.2 masquerade',),
    )


def test_without_a_way_out_there_is_no_nat() -> None:
    assert rules_for(GUEST, NETWORK, NatOptions(), ()) == Rules()
    assert rules_for(GUEST, NETWORK, NatOptions(enabled=False), ("eth0",)) == Rules()
    assert rules_for(GUEST, NETWORK, NatOptions(egress=["none"]), ("eth0",)) == Rules()


def test_every_way_out() -> None:
    rules = rules_for(GUEST, NETWORK, NatOptions(), None)
    out = 'oifname != { "banger0", "lo" } ip saddr 10.213.0.2'
    assert rules.forward == (f'iifname "banger0" {out} accept',)
    assert rules.postrouting == (f"{out} masquerade",)


def test_egress() -> None:
    options = NatOptions(egress=["10.1.0.0/16:443/tcp", "192.0.2.0/24"])
    forward = rules_for(GUEST, NETWORK, options, ("eth0", "eth1")).forward
    start = 'iifname "banger0" oifname { "eth0", "eth1" } ip saddr 10.213.0.2'
    assert forward == (
        f"{start} ip daddr 10.1.0.0/16 tcp dport 443 accept",
        f"{start} ip daddr 192.0.2.0/24 accept",
    )


def test_a_published_port_needs_no_nat() -> None:
    options = NatOptions(enabled=False, publish=["8080:80"])
    assert rules_for(GUEST, NETWORK, options, ("eth0",)) == Rules(
        prerouting=(
            "meta nfproto ipv4 fib daddr type local ip daddr != 127.0.0.0/8 tcp dport 8080 "
            "dnat ip to 10.213.0.2:80",
        ),
        output=("meta nfproto ipv4 fib daddr type local tcp dport 8080 dnat ip to 10.213.0.2:80",),
        forward=(
            'oifname "banger0" ip daddr 10.213.0.2 tcp dport 80 ct status dnat '
            "ct original proto-dst 8080 accept",
        ),
        postrouting=(
            'oifname "banger0" ip daddr 10.213.0.2 ct status dnat '
            "ip saddr { 10.213.0.0/22, 127.0.0.0/8 } masquerade",
        ),
    )


def test_a_port_on_loopback_is_for_the_host_alone() -> None:
    options = NatOptions(enabled=False, publish=["127.0.0.1:5353:53/udp"])
    rules = rules_for(GUEST, NETWORK, options, ("eth0",))
    assert rules.prerouting == rules.forward == ()
    assert rules.output == ("ip daddr 127.0.0.1 udp dport 5353 dnat ip to 10.213.0.2:53",)
