"""What a guest that has run before is told of its configuration: who it is now, and what is new."""

from __future__ import annotations

import os
import time

import msgspec

from banger.model.guest import AuthorizedKeys, GuestConfig

ENTROPY_BYTES = 64

_NEVER_CHANGED = ("interfaces", "mounts", "machine_id", "grow_root", "unnest")
"""Parts that make another machine of it when they differ."""
_REPLACED = ("hostname", "hosts", "resolvers", "search", "environment", "first_boot")


def personal(config: GuestConfig, *, mac: str, mac_before: str, boot_id: str) -> GuestConfig:
    """The configuration, and what a boot would have brought that no two VMs may share.

    ``mac_before`` is what its card with ``mac`` has been called so far; ``boot_id`` "": it keeps
    the one it has.
    """
    interfaces = [
        msgspec.structs.replace(card, template_mac=mac_before) if card.mac == mac else card
        for card in config.interfaces
    ]
    return msgspec.structs.replace(
        config,
        interfaces=interfaces,
        entropy=os.urandom(ENTROPY_BYTES),
        boot_id=boot_id,
        unix_ns=time.time_ns(),
    )


def beyond_template(config: GuestConfig, *, same_root: bool, same_work: bool) -> GuestConfig:
    """Without what the template was told for all that begin in it: mounting the work disk, looking
    what an older version left there, and growing the root file system. ``same_…``: the disk is as
    large as the template's."""
    if same_work:
        config = msgspec.structs.replace(config, mounts=[], unnest=[])
    return msgspec.structs.replace(config, grow_root=False) if same_root else config


def news(config: GuestConfig, told: GuestConfig) -> GuestConfig | None:
    """What of the configuration a guest that was ``told`` another one has not heard yet.

    None: it was told something that can't be taken back.
    """
    if any(getattr(config, part) != getattr(told, part) for part in _NEVER_CHANGED):
        return None
    new: dict[str, object] = {}
    for part in _REPLACED:
        now, before = getattr(config, part), getattr(told, part)
        if before and not now:
            return None
        if now != before:
            new[part] = now
    if "search" in new:
        # Both are written into one file.
        new["resolvers"] = config.resolvers
    elif "resolvers" in new:
        new["search"] = config.search
    before_files = {file.path: file for file in told.files}
    if before_files.keys() - {file.path for file in config.files}:
        return None
    new["files"] = [file for file in config.files if before_files.get(file.path) != file]
    if not _accepted(told) <= _accepted(config):
        return None
    if _accepted(told) != _accepted(config):
        new["authorized_keys"] = config.authorized_keys
    return GuestConfig(version=config.version, **new)  # type: ignore[arg-type]


def _accepted(config: GuestConfig) -> set[tuple[str, str]]:
    """Users, each with a key that may enter as them."""
    entries: list[AuthorizedKeys] = config.authorized_keys
    return {(entry.user, key) for entry in entries for key in entry.keys}
