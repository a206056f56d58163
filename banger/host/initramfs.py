"""The initramfs of one guest: the image's modules, the agent, the guest's configuration."""

from __future__ import annotations

import stat
from pathlib import Path

import msgspec

from banger.host import assets, cpio
from banger.model.guest import GuestConfig


def write_initramfs(path: Path, modules: Path, config: GuestConfig) -> int:
    """Write it, replacing what is there; its size in bytes. Blocks."""
    agent = assets.agent_binary().read_bytes()
    document = msgspec.json.encode(config)
    parts: list[Path | bytes] = [
        modules,
        cpio.archive([cpio.Entry("init", stat.S_IFREG | 0o755, agent)]),
        cpio.archive(
            [
                cpio.Entry("banger", stat.S_IFDIR | 0o755),
                cpio.Entry("banger/guest.json", stat.S_IFREG | 0o600, document),
            ]
        ),
    ]
    cpio.assemble_initramfs(path, parts)
    return path.stat().st_size
