"""How options are written, and what is said about those that are wrong."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from banger.capabilities import UsageError
from banger.capabilities.options import declarations, with_changes

from banger_nat.egress import Egress, parse_egress
from banger_nat.options import NatOptions
from banger_nat.publication import Choice, Publication, parse_publications


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("0.0.0.0/0", ""),
        ("10.1.0.0/16", "ip daddr 10.1.0.0/16"),
        ("192.0.2.7", "ip daddr 192.0.2.7/32"),
        ("10.1.0.0/16:443", "ip daddr 10.1.0.0/16 meta l4proto { tcp, udp } th dport 443"),
        ("192.0.2.7:80-90/tcp", "ip daddr 192.0.2.7/32 tcp dport 80-90"),
        ("0.0.0.0/0:53/udp", "udp dport 53"),
    ],
)
def test_egress_is_a_match_of_the_firewall(text: str, match: str) -> None:
    assert Egress.parse(text).match == match


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("web", "'web' is no network"),
        ("10.0.0.0/8/tcp", "'10.0.0.0/8/tcp' is no network with ports"),
        ("10.0.0.1/8", "10.0.0.0/8 is meant"),
        ("10.0.0.0/33", "is no IPv4 network"),
        ("1.2.3.4:0", "ports are 1 to 65535"),
        ("1.2.3.4:90-80", "the smaller one first"),
        ("1.2.3.4:80/icmp", "is no network with ports"),
        ("::/0", "is no network"),
        ("1.2.3.4:80\n", "is no network"),
        ("1.2.3.4; accept", "is no network"),
    ],
)
def test_wrong_egress(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Egress.parse(text)


def test_what_egress_grants() -> None:
    web = Egress.parse("10.1.0.0/16:80-90/tcp")
    assert web.grants(IPv4Address("10.1.2.3"), "tcp", 90)
    assert not web.grants(IPv4Address("10.1.2.3"), "tcp", 91)
    assert not web.grants(IPv4Address("10.1.2.3"), "udp", 80)
    assert not web.grants(IPv4Address("10.2.0.0"), "tcp", 80)
    assert Egress.parse("10.1.0.0/16:80").grants(IPv4Address("10.1.2.3"), "udp", 80)
    assert Egress.parse("10.1.0.0/16").grants(IPv4Address("10.1.2.3"), "1", 0)


def test_egress_of_nothing_and_of_everything() -> None:
    assert parse_egress(["none"]) == ()
    assert [entry.match for entry in parse_egress([])] == [""]
    with pytest.raises(ValueError, match="can't be combined"):
        parse_egress(["none", "10.0.0.0/8"])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("8080:80", "0.0.0.0:8080:80/tcp"),
        ("53:5353/udp", "0.0.0.0:53:5353/udp"),
        ("127.0.0.1:8080:80", "127.0.0.1:8080:80/tcp"),
    ],
)
def test_a_published_port_reads_as_it_is_shown(text: str, shown: str) -> None:
    published = Publication.parse(text)
    assert str(published) == shown
    assert Publication.parse(shown) == published


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("8080", "'8080' is no published port"),
        ("8080:0", "0 is no port"),
        ("70000:80", "70000 is no port"),
        ("8080:80/sctp", "'sctp' is neither tcp nor udp"),
        ("1.2.3:8080:80", "'1.2.3' is no IPv4 address"),
        ("[::1]:8080:80", "is no published port"),
    ],
)
def test_wrong_published_ports(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Publication.parse(text)


def test_ports_that_are_the_same() -> None:
    for texts in (["80:80", "80:81"], ["80:80", "127.0.0.1:80:80"]):
        with pytest.raises(ValueError, match="same port"):
            parse_publications(texts)
    assert len(parse_publications(["80:80", "80:80/udp", "81:80"])) == 3
    assert len(parse_publications(["127.0.0.1:80:80", "127.0.0.2:80:80"])) == 2
    assert parse_publications(["none"]) == ()


def test_choices() -> None:
    published = Publication.parse("127.0.0.1:80:8080/udp")
    for text in ("80", "80/udp", "127.0.0.1:80", "127.0.0.1:80/udp"):
        assert Choice.parse(text).picks(published)
    for text in ("8080", "80/tcp", "127.0.0.2:80"):
        assert not Choice.parse(text).picks(published)
    assert Choice.parse("127.0.0.1:80").address == IPv4Address("127.0.0.1")
    with pytest.raises(ValueError, match="is no port of the host"):
        Choice.parse("80:80")


def test_errors_name_flag_and_value() -> None:
    with pytest.raises(UsageError, match=r"--publish: 'x' is no published port"):
        with_changes("nat", NatOptions(), {"publish": ["x"]}, NatOptions)
    with pytest.raises(UsageError, match=r"--egress: 'x' is no network"):
        with_changes("nat", NatOptions(), {"egress": ["x"]}, NatOptions)


def test_the_flags() -> None:
    flags = {flag for option in declarations("nat", NatOptions) for flag in option.flags}
    assert flags == {"--nat", "--egress", "--publish", "-p"}
