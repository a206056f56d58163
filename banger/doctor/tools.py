"""Programs of the host, each with the Debian package it comes from."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence

import msgspec

from banger.capabilities.check import Check
from banger.doctor.looking import looking_check
from banger.model.finding import Finding


class Tool(msgspec.Struct, frozen=True):
    program: str
    package: str
    purpose: str
    needed: bool = False
    """Without it VMs can't be made or reached."""


TOOLS = (
    Tool("ssh-keygen", "openssh-client", "making the host keys of VMs", needed=True),
    Tool("nft", "nftables", "the VMs' firewall", needed=True),
    Tool("ssh", "openssh-client", "'banger vm ssh'"),
    Tool("mmdebstrap", "mmdebstrap", "building images"),
    Tool("mkfs.ext4", "e2fsprogs", "building images"),
    Tool("cpio", "cpio", "building images"),
    Tool("lz4", "lz4", "building images"),
    Tool("unshare", "util-linux", "building images"),
    Tool("zstd", "zstd", "importing what is packed so"),
)


def find_program(name: str) -> str | None:
    """Its path. Also where an ordinary user's PATH does not lead."""
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")


def tools_check() -> Check:
    return looking_check("tools", _look)


def _look(check: Check) -> Sequence[Finding]:
    missing = [tool for tool in TOOLS if find_program(tool.program) is None]
    if not missing:
        return [check.ok(f"all there: {', '.join(tool.program for tool in TOOLS)}")]
    return [
        (check.failed if tool.needed else check.warning)(
            f"{tool.program} is not installed; it is for {tool.purpose}",
            f"apt-get install {tool.package}",
        )
        for tool in missing
    ]
