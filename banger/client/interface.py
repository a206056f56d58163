"""What plugins add to the command line: asked of the daemon, or of a program that only looks.

The client itself imports no plugin: they are the daemon's, and slow to find.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from functools import cache

import msgspec

from banger.client.connection import Connection
from banger.host.places import Places
from banger.kernel.errors import BangerError, HostNotReady
from banger.kernel.wire import BAD_BYTES
from banger.model.requests.plugins import GetInterface, Interface

REMEMBERED = "interface.json"
DEADLINE_S = 30.0
"""Of the program; finding the plugins takes it a fraction of a second."""


def find_interface(connection: Connection | None) -> Interface:
    """Of the daemon at the other end; where there is none, of the one that would run.

    Raises `HostNotReady` when neither can tell.
    """
    if connection is not None:
        with suppress(BangerError):  # one of another version
            return connection.call(GetInterface())
    return from_program()


def remember(places: Places, found: Interface) -> None:
    """For those who can't wait while no daemon runs. What can't be written is not kept."""
    if remembered(places) == found:
        return
    path = f"{places.cache}/{REMEMBERED}"
    temporary = f"{places.cache}/.{REMEMBERED}.{os.getpid()}"
    with suppress(OSError):
        with open(temporary, "wb") as file:  # noqa: PTH123 - spares pathlib
            file.write(msgspec.json.encode(found))
        os.replace(temporary, path)  # noqa: PTH105 - as above


def remembered(places: Places) -> Interface:
    """What was found last; nothing when that is not known."""
    with (
        suppress(OSError, *BAD_BYTES),
        open(f"{places.cache}/{REMEMBERED}", "rb") as file,  # noqa: PTH123 - spares pathlib
    ):
        return msgspec.json.decode(file.read(), type=Interface)
    return Interface([], [], [])


@cache
def from_program() -> Interface:
    """What a daemon started now would have. Raises `HostNotReady`."""
    import subprocess  # slow to load, and mostly a daemon runs

    argv = [sys.executable, "-m", "banger.daemon", "--interface"]
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=DEADLINE_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise _unknown(f"no answer within {DEADLINE_S:.0f} s") from None
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        raise _unknown(said[-1].removeprefix("bangerd: "))
    try:
        return msgspec.json.decode(done.stdout, type=Interface)
    except msgspec.MsgspecError as error:
        raise _unknown(str(error)) from error


def _unknown(reason: str) -> HostNotReady:
    return HostNotReady(
        f"can't find out what plugins add to the command line: {reason}",
        hint="'bangerd --interface' shows more",
    )
