"""Firewalls of others, as their tools make them, in real nftables; and each one's remedy."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from banger.host.foreign_firewall import foreign_drops
from banger.model.firewall import ForeignDrop

BRIDGE = "banger-t"


def nft(text: str) -> str:
    done = subprocess.run(
        ["nft", "-f", "-"], input=text, check=True, capture_output=True, text=True
    )
    return done.stdout


@pytest.fixture(autouse=True)
def clean_rules(clean_namespace: None) -> Iterator[None]:
    nft("flush ruleset")
    yield
    nft("flush ruleset")


DOCKER = """
table ip filter {
    chain DOCKER { }
    chain DOCKER-USER {
        counter return
    }
    chain FORWARD {
        type filter hook forward priority 0; policy drop;
        counter jump DOCKER-USER
        oifname "docker0" ct state related,established counter accept
        oifname "docker0" counter jump DOCKER
        iifname "docker0" oifname != "docker0" counter accept
        iifname "docker0" oifname "docker0" counter accept
    }
}
"""
FIREWALLD = """
table inet firewalld {
    chain filter_FWD_trusted { accept; }
    chain filter_IN_trusted { accept; }
    chain filter_FWD_public { reject with icmpx type admin-prohibited; }
    chain filter_FORWARD_POLICIES {
        iifname "eth0" oifname "eth0" jump filter_FWD_public
    }
    chain filter_INPUT_POLICIES {
        iifname "eth0" jump filter_FWD_public
    }
    chain filter_FORWARD {
        type filter hook forward priority filter + 10; policy accept;
        ct state { established, related } accept
        ct status dnat accept
        iifname "lo" accept
        ct state { invalid } drop
        jump filter_FORWARD_POLICIES
        reject with icmpx type admin-prohibited
    }
    chain filter_INPUT {
        type filter hook input priority filter + 10; policy accept;
        ct state { established, related } accept
        ct status dnat accept
        iifname "lo" accept
        jump filter_INPUT_POLICIES
        reject with icmpx type admin-prohibited
    }
}
"""
UFW = """
table ip filter {
    chain ufw-before-forward {
        ct state related,established accept
        icmp type echo-request accept
        jump ufw-user-forward
    }
    chain ufw-user-forward { }
    chain ufw-before-input {
        iifname "lo" accept
        ct state related,established accept
        udp sport 67 udp dport 68 accept
        jump ufw-user-input
    }
    chain ufw-user-input {
        tcp dport 22 accept
    }
    chain FORWARD {
        type filter hook forward priority 0; policy drop;
        jump ufw-before-forward
    }
    chain INPUT {
        type filter hook input priority 0; policy drop;
        jump ufw-before-input
    }
}
"""
PLAIN = """
table inet filter {
    set trusted { type ifname; elements = { "lo" } ; }
    chain input {
        type filter hook input priority 0; policy drop;
        iifname vmap { "lo" : accept, "eth0" : jump wan }
        ct state vmap { established : accept, related : accept, invalid : drop }
        iifname @trusted accept
    }
    chain forward {
        type filter hook forward priority 0;
        ct state established accept
        iifname "eth*" accept
        limit rate 3/minute log prefix "no "
        drop
    }
    chain wan { tcp dport 22 accept; }
}
"""


@pytest.mark.parametrize(
    ("foreign", "drops", "remedies"),
    [
        (
            DOCKER,
            [
                ForeignDrop(
                    "docker",
                    "ip filter",
                    "FORWARD",
                    "forward",
                    f"iptables -I DOCKER-USER -i {BRIDGE} -j ACCEPT && "
                    f"iptables -I DOCKER-USER -o {BRIDGE} -j ACCEPT",
                )
            ],
            f"""insert rule ip filter DOCKER-USER iifname {BRIDGE} counter accept
            insert rule ip filter DOCKER-USER oifname {BRIDGE} counter accept""",
        ),
        (
            FIREWALLD,
            [
                ForeignDrop(
                    "firewalld",
                    "inet firewalld",
                    f"filter_{hook.upper()}",
                    hook,
                    f"firewall-cmd --permanent --zone=trusted --add-interface={BRIDGE} && "
                    "firewall-cmd --reload",
                )
                for hook in ("forward", "input")
            ],
            f"""insert rule inet firewalld filter_FORWARD_POLICIES \\
                iifname {BRIDGE} jump filter_FWD_trusted
            insert rule inet firewalld filter_INPUT_POLICIES \\
                iifname {BRIDGE} jump filter_IN_trusted""",
        ),
        (
            UFW,
            [
                ForeignDrop(
                    "ufw",
                    "ip filter",
                    "FORWARD",
                    "forward",
                    f"ufw route allow in on {BRIDGE} && ufw route allow out on {BRIDGE}",
                ),
                ForeignDrop(
                    "ufw",
                    "ip filter",
                    "INPUT",
                    "input",
                    f"ufw allow in on {BRIDGE} to any port 53",
                ),
            ],
            f"""add rule ip filter ufw-user-forward iifname {BRIDGE} accept
            add rule ip filter ufw-user-input iifname {BRIDGE} udp dport 53 accept""",
        ),
        (
            PLAIN,
            [
                ForeignDrop(
                    "nftables",
                    "inet filter",
                    "input",
                    "input",
                    f"nft insert rule inet filter input iifname {BRIDGE} th dport 53 accept",
                ),
                ForeignDrop(
                    "nftables",
                    "inet filter",
                    "forward",
                    "forward",
                    f"nft insert rule inet filter forward iifname {BRIDGE} accept && "
                    f"nft insert rule inet filter forward oifname {BRIDGE} accept",
                ),
            ],
            f"""add element inet filter trusted {{ {BRIDGE} }}
            insert rule inet filter forward iifname {BRIDGE} accept""",
        ),
    ],
    ids=["docker", "firewalld", "ufw", "plain"],
)
def test_a_firewall_and_its_remedy(foreign: str, drops: list[ForeignDrop], remedies: str) -> None:
    assert foreign_drops(BRIDGE) == []
    nft(foreign)
    assert foreign_drops(BRIDGE) == drops
    nft(remedies)
    assert foreign_drops(BRIDGE) == []


def test_a_remedy_of_our_own_words_works() -> None:
    nft(PLAIN)
    for drop in foreign_drops(BRIDGE):
        for command in drop.remedy.split(" && "):
            subprocess.run(command.split(), check=True)
    assert foreign_drops(BRIDGE) == []


def test_our_own_table_and_other_hooks_are_nothing_foreign() -> None:
    nft(
        f"""
        table inet {BRIDGE} {{
            chain forward {{ type filter hook forward priority 0; policy drop; }}
        }}
        table ip6 filter {{
            chain FORWARD {{ type filter hook forward priority 0; policy drop; }}
        }}
        table ip strict {{
            chain output {{ type filter hook output priority 0; policy drop; }}
        }}
        """
    )
    assert foreign_drops(BRIDGE) == []
