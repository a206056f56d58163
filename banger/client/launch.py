"""Finding the daemon, and starting it when none runs."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence

from banger.client.connection import Connection
from banger.host.places import SYSTEM_SOCKET, Places, check_socket_path
from banger.kernel.errors import BangerError, Conflict, ConnectionLost, HostNotReady

TURN_DEADLINE_S = 15.0
"""How long to wait for another daemon that starts or stops just now."""
TURN_PAUSE_S = 0.1
STOP_DEADLINE_S = 20.0

_CAP_NET_ADMIN = 12
"""Bit of the capability sets (linux/capability.h)."""


def connect(places: Places) -> Connection | None:
    """A connection to the daemon that runs: the user's own, else the system's. None: none runs."""
    # Root's own socket is the system's, unless root has asked for another place.
    sockets = [places.socket]
    if os.geteuid() != 0:
        sockets.append(SYSTEM_SOCKET)
    for path in sockets:
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


def connect_or_start(places: Places) -> Connection:
    """A connection; the daemon is started when none runs. Raises `HostNotReady`."""
    found = connect(places)
    if found is None:
        _check_rights()
        found = start(places) or connect(places)
    if found is None:
        raise HostNotReady(
            "the daemon ended right after its start", hint=f"see {places.daemon_log}"
        )
    return found


def _check_rights() -> None:
    """A daemon that may not make network devices is of no use; say so before it is there."""
    with open("/proc/self/status", encoding="ascii") as status:  # noqa: PTH123 - spares pathlib
        (effective,) = (line.split()[1] for line in status if line.startswith("CapEff:"))
    if not int(effective, 16) >> _CAP_NET_ADMIN & 1:
        raise HostNotReady(
            "no daemon runs, and this user may not make the network devices it needs",
            hint="start it as root: 'sudo banger daemon start'; its setting daemon.group names "
            "the group that may use it",
        )


def start(places: Places, flags: Sequence[str] = ()) -> Connection | None:
    """Start a daemon in a session of its own and wait until it serves.

    ``flags`` are settings for it, as ``KEY=VALUE``.
    When another one has just started, a connection to that. Raises `HostNotReady`.
    """
    deadline = time.monotonic() + TURN_DEADLINE_S
    while True:
        code, said = _start(flags)
        if code is None:
            return None
        if code != Conflict.exit_code or time.monotonic() > deadline:
            break
        # Another daemon has the lock and no socket: it has not got that far, or is ending.
        time.sleep(TURN_PAUSE_S)
        if (found := connect(places)) is not None:
            return found
    lines = said.strip().splitlines() or ["no message"]
    raise HostNotReady(
        f"the daemon does not start: {lines[-1].removeprefix('bangerd: ')}",
        hint=f"its log is {places.daemon_log}",
    )


def _start(flags: Sequence[str]) -> tuple[int | None, str]:
    """One attempt: None once the daemon serves, else its exit code and what it said."""
    import subprocess  # slow to load, and mostly a daemon runs

    read_end, write_end = os.pipe()
    argv = [sys.executable, "-m", "banger.daemon", "--log-file", "--ready-fd", str(write_end)]
    try:
        daemon = subprocess.Popen(
            [*argv, *(f"--set={flag}" for flag in flags)],
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
        if ready.read():
            daemon.returncode = 0  # it is meant to outlive us; Popen would complain
            assert daemon.stderr is not None
            daemon.stderr.close()
            return None, ""
    _, stderr = daemon.communicate()
    return daemon.returncode, stderr.decode(errors="replace")


def await_end(pid: int) -> None:
    """Wait until the daemon with this pid has ended, be it collected by its parent or not."""
    from banger.host import process  # it loads pathlib, and few commands wait

    daemon = process.identify(pid)
    deadline = time.monotonic() + STOP_DEADLINE_S
    while daemon is not None and process.identify(pid) == daemon:
        if time.monotonic() > deadline:
            raise BangerError(f"the daemon, pid {pid}, has not ended after {STOP_DEADLINE_S:.0f} s")
        time.sleep(0.01)
