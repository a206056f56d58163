"""The guest configuration: one document, delivered cold or warm.

The format is part of the guest agent's protocol (docs/agent-protocol.md).
"""

from __future__ import annotations

from ipaddress import IPv4Interface

import msgspec


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    pass


class Interface(_Part, frozen=True):
    """A network card, found by its MAC."""

    mac: str
    address: str
    """With prefix length: ``172.31.0.5/22``."""
    gateway: str = ""


class HostsEntry(_Part, frozen=True):
    address: str
    names: list[str]


class AuthorizedKeys(_Part, frozen=True):
    user: str
    keys: list[str]


class GuestFile(_Part, frozen=True):
    """``data`` travels as base64."""

    path: str
    mode: int
    data: bytes
    uid: int = 0
    gid: int = 0


class GuestConfig(_Part, frozen=True):
    version: int
    hostname: str
    machine_id: str
    interfaces: list[Interface] = []
    resolvers: list[str] = []
    hosts: list[HostsEntry] = []
    authorized_keys: list[AuthorizedKeys] = []
    files: list[GuestFile] = []
    grow_root: bool = False


def guest_config(
    *,
    hostname: str,
    machine_id: str,
    mac: str,
    address: IPv4Interface,
    gateway: str,
    resolvers: list[str],
    root_key: str,
    host_key: bytes,
    host_public_key: str,
) -> GuestConfig:
    """The configuration of a VM with one network card and one SSH host key."""
    return GuestConfig(
        version=1,
        hostname=hostname,
        machine_id=machine_id,
        interfaces=[Interface(mac, str(address), gateway)],
        resolvers=resolvers,
        hosts=[HostsEntry(str(address.ip), [hostname])],
        authorized_keys=[AuthorizedKeys("root", [root_key])],
        files=[
            GuestFile("/etc/ssh/ssh_host_ed25519_key", 0o600, host_key),
            GuestFile("/etc/ssh/ssh_host_ed25519_key.pub", 0o644, host_public_key.encode() + b"\n"),
        ],
        grow_root=True,
    )
