"""The host's resolv.conf."""

from __future__ import annotations

from pathlib import Path

import pytest

from banger_dns import HostResolvers, Resolver
from banger_dns.resolvers import parse_resolv_conf, parse_upstream


def test_parse() -> None:
    text = """
# nameserver 192.0.2.1
; nameserver 192.0.2.2
search example.org
nameserver 192.0.2.3
  nameserver\t2001:db8::1   # comment
nameserver fe80::1%eth0
nameserver 192.0.2.3
nameserver nonsense
nameserver
options edns0
"""
    assert [resolver.address for resolver in parse_resolv_conf(text)] == [
        "192.0.2.3",
        "2001:db8::1",
        "fe80::1%eth0",
    ]


def test_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    resolvers = HostResolvers(path, tmp_path / "none")
    assert resolvers() == ()
    path.write_text("nameserver 192.0.2.1\n")
    assert resolvers() == (Resolver("192.0.2.1"),)
    path.write_text("nameserver 192.0.2.2\nnameserver 192.0.2.3\n")
    assert resolvers() == (Resolver("192.0.2.2"), Resolver("192.0.2.3"))
    path.unlink()
    assert resolvers() == ()


def test_servers_behind_the_stub_are_taken(tmp_path: Path) -> None:
    path, behind = tmp_path / "resolv.conf", tmp_path / "resolved.conf"
    path.write_text("nameserver 127.0.0.53\n")
    resolvers = HostResolvers(path, behind)
    assert resolvers() == (Resolver("127.0.0.53"),)
    behind.write_text("".join(f"nameserver 192.0.2.{n}\n" for n in range(5)))
    assert resolvers() == tuple(Resolver(f"192.0.2.{n}") for n in range(3))


def test_undecodable_file(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.write_bytes(b"\xff\xfe nonsense\nnameserver 192.0.2.1\n\x00")
    assert HostResolvers(path)() == (Resolver("192.0.2.1"),)


def test_text() -> None:
    assert str(Resolver("192.0.2.1")) == "192.0.2.1"
    assert str(Resolver("::1", 5353)) == "::1 port 5353"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ()),
        ("192.0.2.53", (Resolver("192.0.2.53"),)),
        (
            " 192.0.2.53:5353 , 2001:db8::53,[2001:db8::54]:54,",
            (
                Resolver("192.0.2.53", 5353),
                Resolver("2001:db8::53"),
                Resolver("2001:db8::54", 54),
            ),
        ),
    ],
)
def test_upstream_setting(text: str, found: tuple[Resolver, ...]) -> None:
    assert parse_upstream(text) == found


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("example.org", "'example.org' is no address"),
        ("192.0.2.53:", "'192.0.2.53:' is no address"),
        ("192.0.2.53:0", "0 is no port"),
        ("192.0.2.53:65536", "65536 is no port"),
        ("192.0.2.1,192.0.2.2,192.0.2.3,192.0.2.4", "4 resolvers are more than the 3"),
    ],
)
def test_bad_upstream_settings(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_upstream(text)
