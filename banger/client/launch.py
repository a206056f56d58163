"""Finding the daemon, and starting it when none runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

from banger.client.connection import Connection
from banger.host.paths import SYSTEM_SOCKET, Paths, check_socket_path
from banger.kernel.errors import BangerError, ConnectionLost, HostNotReady

STOP_DEADLINE_S = 20.0

_CAP_NET_ADMIN = 12
"""Bit of the capability sets (linux/capability.h)."""


def connect(paths: Paths) -> Connection | None:
    """A connection to the daemon that runs: the user's own, else the system's. None: none runs."""
    for path in dict.fromkeys((paths.socket, SYSTEM_SOCKET)):
        try:
            return Connection(check_socket_path(path))
        except PermissionError:
            raise HostNotReady(
                f"no permission to use the daemon's socket {path}",
                hint="become a member of the group in its setting daemon.group, or use sudo",
            ) from None
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            pass
        except ConnectionLost:
            # It is on its way out, or does not serve this user.
            raise HostNotReady(
                f"the daemon at {path} refused the connection",
                hint="it serves its own user, root and the group of the setting daemon.group",
            ) from None
    return None


def connect_or_start(paths: Paths) -> Connection:
    """A connection; the daemon is started when none runs. Raises `HostNotReady`."""
    found = connect(paths)
    if found is None:
        _check_rights()
        start(paths)
        found = connect(paths)
    if found is None:
        raise HostNotReady("the daemon ended right after its start", hint=f"see {paths.daemon_log}")
    return found


def _check_rights() -> None:
    """A daemon that may not make network devices is of no use; say so before it is there."""
    status = Path("/proc/self/status").read_text()
    (effective,) = re.findall(r"^CapEff:\s*([0-9a-f]+)$", status, re.MULTILINE)
    if not int(effective, 16) >> _CAP_NET_ADMIN & 1:
        raise HostNotReady(
            "no daemon runs, and this user may not make the network devices it needs",
            hint="start it as root: 'sudo banger daemon start'; its setting daemon.group names "
            "the group that may use it",
        )


def start(paths: Paths) -> None:
    """Start a daemon in a session of its own and wait until it serves."""
    read_end, write_end = os.pipe()
    try:
        daemon = subprocess.Popen(
            [sys.executable, "-m", "banger.daemon", "--log-file", "--ready-fd", str(write_end)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=[write_end],
            start_new_session=True,
            cwd="/",
        )
    finally:
        os.close(write_end)
    with os.fdopen(read_end, "rb") as ready:
        # Ends with the word, or with the daemon: then nobody holds the other end any more.
        said = ready.read()
    if said:
        daemon.returncode = 0  # it is meant to outlive us; Popen would complain
        assert daemon.stderr is not None
        daemon.stderr.close()
        return
    _, stderr = daemon.communicate()
    if connect(paths) is not None:
        return  # another client was faster
    lines = stderr.decode(errors="replace").strip().splitlines() or ["no message"]
    raise HostNotReady(
        f"the daemon does not start: {lines[-1].removeprefix('bangerd: ')}",
        hint=f"its log is {paths.daemon_log}",
    )


def await_end(pid: int) -> None:
    """Wait until the daemon with this pid has gone."""
    deadline = time.monotonic() + STOP_DEADLINE_S
    while Path(f"/proc/{pid}").exists():
        if time.monotonic() > deadline:
            raise BangerError(f"the daemon, pid {pid}, has not ended after {STOP_DEADLINE_S:.0f} s")
        time.sleep(0.01)
