"""The firewall's text: what goes in, and what may not."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from banger.host.ruleset import render, table_name
from banger.kernel.errors import UsageError
from banger.model.firewall import Pin, Rules

GATEWAY = IPv4Address("10.213.0.1")
PIN = Pin("tap-0a", "02:fc:0a:d5:00:02", "10.213.0.2")
OTHER = Pin("tap-0b", "02:fc:0a:d5:00:03", "10.213.0.3", isolated=True)


def rendered(*pins: Pin, rules: dict[tuple[str, str], Rules] | None = None) -> list[str]:
    return render("banger0", "br-x", GATEWAY, pins, rules or {}).splitlines()


def with_rule(text: str) -> list[str]:
    return rendered(PIN, rules={("nat", "web"): Rules(forward=(text,))})


def test_the_whole_is_replaced() -> None:
    lines = rendered(PIN)
    assert lines[:4] == [
        "add table bridge banger0",
        "delete table bridge banger0",
        "add table inet banger0",
        "delete table inet banger0",
    ]
    assert not any("flush" in line or "nat hook" in line for line in lines)


def test_each_line_is_about_our_table() -> None:
    rules = {("nat", "web"): Rules(*[("accept",)] * 5)}
    for line in rendered(PIN, OTHER, rules=rules):
        verb, kind, family, table = line.split()[:4]
        assert verb in ("add", "delete")
        assert kind in ("table", "set", "chain", "rule")
        assert family in ("bridge", "inet")
        assert table == "banger0"


def test_pins() -> None:
    lines = rendered(OTHER, PIN)
    sets = [line for line in lines if line.startswith("add set")]
    assert sets == [
        'add set bridge banger0 taps { type ifname ; elements = { "tap-0a", "tap-0b" } ; }',
        'add set bridge banger0 isolated { type ifname ; elements = { "tap-0b" } ; }',
        "add set bridge banger0 pins { type ifname . ether_addr . ipv4_addr ; elements = { "
        '"tap-0a" . 02:fc:0a:d5:00:02 . 10.213.0.2, "tap-0b" . 02:fc:0a:d5:00:03 . 10.213.0.3 '
        "} ; }",
        "add set inet banger0 guests { type ipv4_addr ; elements = { 10.213.0.2, 10.213.0.3 } ; }",
        "add set inet banger0 isolated { type ipv4_addr ; elements = { 10.213.0.3 } ; }",
    ]


def test_rules_go_to_their_chains_before_the_last_word() -> None:
    rules = {
        ("b", "1"): Rules(forward=("second",), prerouting=("early",)),
        ("a", "1"): Rules(forward=("first",), input=("in",), output=("out",)),
        ("c", "1"): Rules(postrouting=('oifname { "a", "b" } masquerade comment "x; {"',)),
    }
    lines = rendered(PIN, rules=rules)
    assert lines[-9:] == [
        "add chain inet banger0 prerouting "
        "{ type nat hook prerouting priority dstnat ; policy accept ; }",
        "add rule inet banger0 prerouting early",
        "add chain inet banger0 output { type nat hook output priority -100 ; policy accept ; }",
        "add rule inet banger0 output out",
        "add chain inet banger0 postrouting "
        "{ type nat hook postrouting priority srcnat ; policy accept ; }",
        'add rule inet banger0 postrouting oifname { "a", "b" } masquerade comment "x; {"',
        "add rule inet banger0 guest_forward first",
        "add rule inet banger0 guest_forward second",
        "add rule inet banger0 guest_input in",
    ]
    jump = lines.index("add rule inet banger0 forward jump guest_forward")
    assert lines[jump + 1] == "add rule inet banger0 forward drop"
    assert "add rule inet banger0 input drop" in lines


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "accept\nflush ruleset",
        "accept\rflush ruleset",
        "accept; flush ruleset",
        "accept }",
        "} accept {",
        "ip saddr { 10.0.0.1",
        "ip saddr } { accept",
        'accept comment "x',
        'comment "a" accept; flush ruleset comment "b"',
        "accept # and so on",
        "accept \\",
        "ip saddr $everybody accept",
        "include 'x'",
        "accept \x00",
        "accept \u2028 drop",
        "ip saddr 10.0.0.1 " * 100,
    ],
)
def test_what_is_not_one_rule_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"can't be a rule of the firewall's forward"):
        with_rule(text)


@pytest.mark.parametrize(
    "pin",
    [
        Pin("tap a", PIN.mac, PIN.address),
        Pin('tap-"', PIN.mac, PIN.address),
        Pin("tap-*", PIN.mac, PIN.address),
        Pin("", PIN.mac, PIN.address),
        Pin("tap-sixteen-chars", PIN.mac, PIN.address),
        Pin(PIN.tap, "02:fc:0a:d5:00", PIN.address),
        Pin(PIN.tap, "02:FC:0A:D5:00:02", PIN.address),
        Pin(PIN.tap, PIN.mac + "\n", PIN.address),
        Pin(PIN.tap, PIN.mac, "10.213.0"),
        Pin(PIN.tap, PIN.mac, "10.213.0.2/22"),
        Pin(PIN.tap, PIN.mac, "10.213.0.2 }"),
        Pin(PIN.tap, PIN.mac, "::1"),
    ],
)
def test_a_pin_that_is_none_is_refused(pin: Pin) -> None:
    with pytest.raises(UsageError):
        rendered(pin)


def test_each_bridge_has_a_table_of_its_own() -> None:
    bridges = ["banger0", "banger-br-0", "br-0", "br.0", "br_0", "0", "inet", "table"]
    names = [table_name(bridge) for bridge in bridges]
    assert names[:3] == ["banger0", "banger-br-0", "banger/br-0"]
    assert len(set(names)) == len(bridges)
    with pytest.raises(UsageError):
        table_name("a b")
