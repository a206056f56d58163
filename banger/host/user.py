"""The user that VMMs run as when the daemon is root."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path
from typing import Any

import msgspec

FALLBACK = "nobody"
_KVM = Path("/dev/kvm")


class User(msgspec.Struct, frozen=True):
    name: str
    uid: int
    gid: int
    groups: tuple[int, ...] = ()

    def popen_arguments(self) -> dict[str, Any]:
        """For `subprocess.Popen`."""
        return {"user": self.uid, "group": self.gid, "extra_groups": list(self.groups)}


def vmm_user(name: str) -> User | None:
    """The user to switch to, or `FALLBACK` when there is none of this name.

    None when this process is not root: VMMs then run as the daemon's own user. /dev/kvm's
    group comes along, for QEMU opens it by itself.
    """
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        entry = pwd.getpwnam(FALLBACK)
    groups = (_KVM.stat().st_gid,) if _KVM.exists() else ()
    return User(entry.pw_name, entry.pw_uid, entry.pw_gid, groups)


def group_id(name: str) -> int | None:
    """The number of a group, or None when there is none of this name."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None
