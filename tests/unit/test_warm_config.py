"""What a guest that has run before is told: who it is, and of the rest what is new."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from banger.model.guest import (
    VERSION,
    AuthorizedKeys,
    GuestConfig,
    GuestFile,
    HostsEntry,
    Interface,
    Mount,
)
from banger.model.warm_config import ENTROPY_BYTES, news, personal

MAC = "02:fc:0a:d5:00:02"
TOLD = GuestConfig(
    version=VERSION,
    hostname="standby-1",
    machine_id="a" * 32,
    interfaces=[Interface(MAC, "10.213.0.2/22")],
    resolvers=["10.213.0.1"],
    hosts=[HostsEntry("10.213.0.2", ["standby-1"])],
    authorized_keys=[AuthorizedKeys("root", ["key"])],
    files=[GuestFile("/etc/key", 0o600, b"key")],
    mounts=[Mount("work", "/root", "ext4", grow=True)],
    grow_root=True,
)


def test_what_is_known_is_not_told_again() -> None:
    assert news(TOLD, TOLD) == GuestConfig(version=VERSION)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"hostname": "web"}, {"hostname": "web"}),
        ({"hosts": [HostsEntry("10.213.0.2", ["web"])]},) * 2,
        ({"environment": {"A": "b"}},) * 2,
        ({"first_boot": [["true"]]},) * 2,
        # One file holds both.
        ({"search": ["vm"]}, {"search": ["vm"], "resolvers": ["10.213.0.1"]}),
        ({"resolvers": ["1.1.1.1"]},) * 2,
        (
            {"files": [*TOLD.files, GuestFile("/etc/motd", 0o644, b"hi")]},
            {"files": [GuestFile("/etc/motd", 0o644, b"hi")]},
        ),
        ({"files": [GuestFile("/etc/key", 0o600, b"other")]},) * 2,
        ({"authorized_keys": [AuthorizedKeys("root", ["key", "mine"])]},) * 2,
    ],
)
def test_what_is_new_is_told(changes: dict[str, Any], told: dict[str, Any]) -> None:
    assert news(replace(TOLD, **changes), TOLD) == GuestConfig(version=VERSION, **told)


@pytest.mark.parametrize(
    "changes",
    [
        {"machine_id": "b" * 32},
        {"interfaces": [Interface(MAC, "10.213.0.3/22")]},
        {"mounts": []},
        {"grow_root": False},
        {"resolvers": []},
        {"files": []},
        {"authorized_keys": [AuthorizedKeys("root", ["mine"])]},
        {"authorized_keys": []},
    ],
)
def test_what_can_not_be_taken_back(changes: dict[str, Any]) -> None:
    assert news(replace(TOLD, **changes), TOLD) is None


def test_no_two_are_told_the_same_entropy() -> None:
    one, two = (personal(TOLD, mac=MAC, mac_before="02:fc::", boot_id="b") for _ in range(2))
    assert len(one.entropy) == ENTROPY_BYTES
    assert one.entropy != two.entropy
    assert one.interfaces[0].template_mac == "02:fc::"
    assert (one.boot_id, one.hostname) == ("b", "standby-1")
