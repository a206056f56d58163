"""The directories and files of an installation. Where they lie, `Places` knows."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from banger.host.places import DAEMON_LOG, SOCKET, Places
from banger.kernel.errors import HostNotReady


class Paths(msgspec.Struct, frozen=True):
    config: Path
    state: Path
    cache: Path
    runtime: Path

    @classmethod
    def of(cls, environ: Mapping[str, str], uid: int) -> Paths:
        return cls.at(Places.of(environ, uid))

    @classmethod
    def at(cls, places: Places) -> Paths:
        return cls(*map(Path, msgspec.structs.astuple(places)))

    @classmethod
    def here(cls) -> Paths:
        return cls.of(os.environ, os.geteuid())

    @property
    def config_file(self) -> Path:
        return self.config / "config.toml"

    @property
    def socket(self) -> Path:
        return self.runtime / SOCKET

    @property
    def lock(self) -> Path:
        return self.runtime / "bangerd.lock"

    @property
    def daemon_log(self) -> Path:
        return self.state / DAEMON_LOG

    @property
    def event_log(self) -> Path:
        return self.state / "events.jsonl"

    @property
    def vms(self) -> Path:
        return self.state / "vms"

    @property
    def standby(self) -> Path:
        """Of VMs that are kept ready. Beside the VMs': their files are moved there."""
        return self.state / "standby"

    @property
    def layers(self) -> Path:
        """Frozen disks of VMs, below those that go on."""
        return self.state / "layers"

    @property
    def forks(self) -> Path:
        """States of VMs that are just being forked."""
        return self.state / "forks"

    @property
    def vm_runtime(self) -> Path:
        return self.runtime / "vm"

    @property
    def images(self) -> Path:
        return self.cache / "images"

    @property
    def seeds(self) -> Path:
        return self.cache / "seeds"

    @property
    def seed_runtime(self) -> Path:
        """For sockets of the machines that seeds are made with."""
        return self.runtime / "seed"

    @property
    def identity(self) -> Path:
        """The installation's private SSH key."""
        return self.state / "keys" / "id_ed25519"


def make_private(path: Path, mode: int = 0o700) -> None:
    """Make the directory, and see to it that it is ours and of this mode.

    Raises `HostNotReady` when somebody else owns it, it is a link or can't be made.
    """
    try:
        path.mkdir(mode=mode, parents=True, exist_ok=True)
    except OSError as error:
        raise HostNotReady(f"{path} can't be made: {error.strerror}") from None
    status = path.lstat()
    if path.is_symlink() or status.st_uid != os.geteuid():
        raise HostNotReady(
            f"{path} belongs to uid {status.st_uid} or is a link",
            hint="remove it, or set XDG_RUNTIME_DIR to a directory of yours",
        )
    if status.st_mode & 0o777 != mode:
        path.chmod(mode)
