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

As text: most commands want the socket only, and pathlib takes long to load.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import msgspec

from banger.kernel.errors import HostNotReady

SOCKET_PATH_LIMIT = 107
"""Bytes in sockaddr_un.sun_path, less the closing NUL (unix(7))."""

SOCKET = "bangerd.sock"
DAEMON_LOG = "bangerd.log"

SYSTEM_SOCKET = "/run/banger/bangerd.sock"
"""Where root's service listens; a user in its group may use it."""


class Places(msgspec.Struct, frozen=True):
    config: str
    state: str
    cache: str
    runtime: str

    @classmethod
    def of(cls, environ: Mapping[str, str], uid: int) -> Places:
        home = environ.get("HOME") or os.path.expanduser("~")  # noqa: PTH111
        user_runtime = f"/run/user/{uid}/banger"
        if uid != 0 and not os.path.isdir(f"/run/user/{uid}"):  # noqa: PTH112
            # No session manager: a directory of one's own, checked when it is made.
            import tempfile  # slow to load, and seldom needed

            user_runtime = f"{tempfile.gettempdir()}/banger-{uid}/banger"

        def place(variable: str, of_user: str, of_root: str) -> str:
            chosen = environ.get(variable, "")
            if chosen.startswith("/"):
                return f"{chosen.rstrip('/')}/banger"
            return of_root if uid == 0 else of_user

        return cls(
            config=place("XDG_CONFIG_HOME", f"{home}/.config/banger", "/etc/banger"),
            state=place("XDG_STATE_HOME", f"{home}/.local/state/banger", "/var/lib/banger"),
            cache=place("XDG_CACHE_HOME", f"{home}/.cache/banger", "/var/cache/banger"),
            runtime=place("XDG_RUNTIME_DIR", user_runtime, "/run/banger"),
        )

    @classmethod
    def here(cls) -> Places:
        return cls.of(os.environ, os.geteuid())

    @property
    def socket(self) -> str:
        return f"{self.runtime}/{SOCKET}"

    @property
    def daemon_log(self) -> str:
        return f"{self.state}/{DAEMON_LOG}"


def check_socket_path(path: str | os.PathLike[str]) -> str:
    """Raise `HostNotReady` when the path is too long for a UNIX socket."""
    text = os.fspath(path)
    if len(os.fsencode(text)) > SOCKET_PATH_LIMIT:
        raise HostNotReady(
            f"{text} is longer than the {SOCKET_PATH_LIMIT} bytes a UNIX socket may have",
            hint="set XDG_RUNTIME_DIR to a shorter path",
        )
    return text
