"""The initramfs of one guest: the image's modules, the agent, the guest's configuration."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import msgspec

from banger.host import assets, cpio
from banger.kernel.errors import HostNotReady
from banger.model.guest import GuestConfig

CONFIG_AREA_BYTES = 256 << 10
"""What is kept for the configuration of a guest that is still to be told who it is."""


def write_initramfs(path: Path, modules: Path, config: GuestConfig, *, area: bool = False) -> int:
    """Write it, replacing what is there; its size in bytes. Blocks.

    ``area``: with room for another configuration, for `replace_config`.
    """
    agent = assets.agent_binary().read_bytes()
    document = _document(config)
    parts: list[Path | bytes] = [
        modules,
        cpio.archive([cpio.Entry("init", stat.S_IFREG | 0o755, agent)]),
        _in_area(document) if area else document,
    ]
    cpio.assemble_initramfs(path, parts)
    return path.stat().st_size


def replace_config(path: Path, config: GuestConfig) -> None:
    """Write another configuration where a `write_initramfs` with ``area`` has one. Blocks.

    In place: a VMM that runs has mapped this very file, and reads it again when its guest reboots.
    Raises `HostNotReady` when it does not fit, or can't be written.
    """
    data = _in_area(_document(config))
    try:
        file = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            offset = os.fstat(file).st_size - CONFIG_AREA_BYTES
            if os.pwrite(file, data, offset) != len(data):
                raise HostNotReady(f"{path} can't be written whole")
        finally:
            os.close(file)
    except OSError as error:
        raise HostNotReady(f"{path} can't be written: {error.strerror}") from None


def _document(config: GuestConfig) -> bytes:
    return cpio.archive(
        [
            cpio.Entry("banger", stat.S_IFDIR | 0o755),
            cpio.Entry("banger/guest.json", stat.S_IFREG | 0o600, msgspec.json.encode(config)),
        ]
    )


def _in_area(document: bytes) -> bytes:
    """Filled up with zeros, which the kernel passes over."""
    if len(document) > CONFIG_AREA_BYTES:
        raise HostNotReady(
            f"the guest's configuration has {len(document)} bytes, more than {CONFIG_AREA_BYTES}"
        )
    return document.ljust(CONFIG_AREA_BYTES, b"\0")
