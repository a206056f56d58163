"""What capabilities say of a guest, and where they contradict each other."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

import pytest

from banger.capabilities.guest import GuestBuilder, GuestContribution
from banger.kernel.errors import Conflict, UsageError
from banger.model.guest import AuthorizedKeys, HostsEntry, Interface
from banger.model.machine import Card, DiskFormat, Drive

DISK = Drive("data", Path("/a"), DiskFormat.RAW)

SAID_TWICE: list[
    tuple[Callable[[GuestContribution], None], Callable[[GuestContribution], None]]
] = [
    (lambda g: g.hostname("a"), lambda g: g.hostname("b")),
    (lambda g: g.machine_id("0" * 32), lambda g: g.machine_id("1" * 32)),
    (lambda g: g.file("/etc/a", "x"), lambda g: g.file("/etc/a", "y")),
    (lambda g: g.file("/etc/a", "x"), lambda g: g.file("/etc/a", "x", mode=0o600)),
    (lambda g: g.host("10.0.0.1", "db"), lambda g: g.host("10.0.0.2", "db")),
    (lambda g: g.environment("A", "1"), lambda g: g.environment("A", "2")),
    (lambda g: g.mount("data", "/srv"), lambda g: g.mount("other", "/srv")),
    (lambda g: g.kernel_argument("quiet"), lambda g: g.kernel_argument("quiet", "1")),
    (lambda g: g.drive(DISK), lambda g: g.drive(Drive("data", Path("/b"), DiskFormat.RAW))),
    (lambda g: g.card(Card("tap-a", "02:00")), lambda g: g.card(Card("tap-b", "02:00"))),
    (
        lambda g: g.interface("02:00", IPv4Interface("10.0.0.2/24")),
        lambda g: g.interface(
            "02:00", IPv4Interface("10.0.0.2/24"), gateway=IPv4Address("10.0.0.1")
        ),
    ),
]


@pytest.mark.parametrize(("one", "other"), SAID_TWICE)
def test_a_contradiction_names_both(
    one: Callable[[GuestContribution], None], other: Callable[[GuestContribution], None]
) -> None:
    builder = GuestBuilder()
    one(builder.by("first"))
    one(builder.by("second"))
    before = builder.build()
    with pytest.raises(Conflict, match="'first' and 'third' differ"):
        other(builder.by("third"))
    assert builder.build() == before


def test_all_parts_come_together() -> None:
    builder = GuestBuilder()
    first, second = builder.by("first"), builder.by("second")
    first.hostname("box")
    first.interface("02:01", IPv4Interface("10.0.0.2/24"), gateway=IPv4Address("10.0.0.1"))
    assert not second.has_resolver
    first.resolver("10.0.0.1")
    assert second.has_resolver
    second.resolver("10.0.0.9")
    second.resolver("10.0.0.1")
    second.search("vm")
    first.host("10.0.0.2", "box")
    second.host("10.0.0.2", "box.vm", "box")
    first.authorized_key("root", "ssh-ed25519 A")
    second.authorized_key("root", "ssh-ed25519 B")
    second.environment("LANG", "C.UTF-8")
    second.first_boot("/bin/touch", "/marker")
    second.drive(DISK)
    second.card(Card("tap-x", "02:02"))
    second.kernel_argument("quiet")
    second.kernel_argument("loglevel", "7")
    second.mount("data", "/srv", grow=True)
    plan = builder.build()
    config = plan.config
    assert config.interfaces == [Interface("02:01", "10.0.0.2/24", "10.0.0.1")]
    assert config.resolvers == ["10.0.0.1", "10.0.0.9"]
    assert config.search == ["vm"]
    assert config.hosts == [HostsEntry("10.0.0.2", ["box", "box.vm"])]
    assert config.authorized_keys == [AuthorizedKeys("root", ["ssh-ed25519 A", "ssh-ed25519 B"])]
    assert config.environment == {"LANG": "C.UTF-8"}
    assert config.first_boot == [["/bin/touch", "/marker"]]
    assert [mount.path for mount in config.mounts] == ["/srv"]
    assert not config.grow_root
    assert plan.drives == (DISK,)
    assert plan.cards == (Card("tap-x", "02:02"),)
    assert plan.kernel_arguments == ("quiet", "loglevel=7")


@pytest.mark.parametrize("path", ["etc/a", "", "/etc/../a", "/a\0b"])
def test_a_file_has_an_absolute_path(path: str) -> None:
    with pytest.raises(UsageError, match="'greet'"):
        GuestBuilder().by("greet").file(path, "x")


@pytest.mark.parametrize("name", ["a b", 'a"', "a\n"])
def test_a_kernel_argument_is_one_word(name: str) -> None:
    with pytest.raises(UsageError, match="no kernel argument"):
        GuestBuilder().by("greet").kernel_argument(name)
