"""The guest configuration: one document, delivered cold or warm.

The format is part of the guest agent's protocol (docs/agent-protocol.md).
"""

from __future__ import annotations

import msgspec

VERSION = 1


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    pass


class Interface(_Part, frozen=True):
    """A network card, found by its MAC."""

    mac: str
    address: str
    """With prefix length: ``172.31.0.5/22``."""
    gateway: str = ""
    template_mac: str = ""
    """The card's MAC so far, in a guest restored from a template: it is given ``mac``."""


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


class Mount(_Part, frozen=True):
    """A file system, found by its drive's serial."""

    serial: str
    path: str
    type: str
    """The kind of file system: ``ext4``."""
    grow: bool = False


class GuestConfig(_Part, frozen=True):
    version: int
    hostname: str = ""
    machine_id: str = ""
    interfaces: list[Interface] = []
    resolvers: list[str] = []
    search: list[str] = []
    hosts: list[HostsEntry] = []
    authorized_keys: list[AuthorizedKeys] = []
    files: list[GuestFile] = []
    mounts: list[Mount] = []
    unnest: list[str] = []
    """Homes in which an older version may have left everything one level too deep."""
    environment: dict[str, str] = {}
    first_boot: list[list[str]] = []
    grow_root: bool = False
    entropy: bytes = b""
    """32 to 512 random bytes for the kernel's generator; copies of a template need it."""
    boot_id: str = ""
    """A UUID shown as the kernel's boot id, in a guest restored from a template."""
    unix_ns: int = 0
    """The time of day, for a guest whose clock stood still."""
