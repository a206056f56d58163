"""Where things are: XDG directories for a user, the system's for root.

=========  ==============================  ======================  ===================
what       user                            root                    overridden by
=========  ==============================  ======================  ===================
config     ~/.config/banger                /etc/banger             XDG_CONFIG_HOME
state      ~/.local/state/banger           /var/lib/banger         XDG_STATE_HOME
cache      ~/.cache/banger                 /var/cache/banger       XDG_CACHE_HOME
runtime    /run/user/UID/banger            /run/banger             XDG_RUNTIME_DIR
=========  ==============================  ======================  ===================

Source: XDG Base Directory Specification 0.8.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from banger.kernel.errors import HostNotReady

SOCKET_PATH_LIMIT = 107
"""Bytes in sockaddr_un.sun_path, less the closing NUL (unix(7))."""


class Paths(msgspec.Struct, frozen=True):
    config: Path
    state: Path
    cache: Path
    runtime: Path

    @classmethod
    def of(cls, environ: Mapping[str, str], uid: int) -> Paths:
        home = Path(environ.get("HOME") or Path("~").expanduser())
        user_runtime = Path("/run/user") / str(uid)
        if uid != 0 and not user_runtime.is_dir():
            # No session manager: a directory of one's own, checked when it is made.
            import tempfile  # slow to load, and seldom needed

            user_runtime = Path(tempfile.gettempdir()) / f"banger-{uid}"

        def place(variable: str, of_user: Path, of_root: Path) -> Path:
            chosen = environ.get(variable, "")
            if chosen.startswith("/"):
                return Path(chosen) / "banger"
            return of_root if uid == 0 else of_user / "banger"

        return cls(
            config=place("XDG_CONFIG_HOME", home / ".config", Path("/etc/banger")),
            state=place("XDG_STATE_HOME", home / ".local/state", Path("/var/lib/banger")),
            cache=place("XDG_CACHE_HOME", home / ".cache", Path("/var/cache/banger")),
            runtime=place("XDG_RUNTIME_DIR", user_runtime, Path("/run/banger")),
        )

    @classmethod
    def here(cls) -> Paths:
        return cls.of(os.environ, os.geteuid())

    @property
    def config_file(self) -> Path:
        return self.config / "config.toml"

    @property
    def socket(self) -> Path:
        return self.runtime / "bangerd.sock"

    @property
    def lock(self) -> Path:
        return self.runtime / "bangerd.lock"

    @property
    def daemon_log(self) -> Path:
        return self.state / "bangerd.log"

    @property
    def event_log(self) -> Path:
        return self.state / "events.jsonl"

    @property
    def vms(self) -> Path:
        return self.state / "vms"

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


SYSTEM_SOCKET = Path("/run/banger/bangerd.sock")
"""Where root's service listens; a user in its group may use it."""


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


def check_socket_path(path: Path) -> Path:
    """Raise `HostNotReady` when the path is too long for a UNIX socket."""
    if len(os.fsencode(path)) > SOCKET_PATH_LIMIT:
        raise HostNotReady(
            f"{path} is longer than the {SOCKET_PATH_LIMIT} bytes a UNIX socket may have",
            hint="set XDG_RUNTIME_DIR to a shorter path",
        )
    return path
