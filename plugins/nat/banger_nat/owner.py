"""Which process has a port, as far as /proc tells (proc(5), ``/proc/net/tcp``)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

UNKNOWN = "a program of this host"

_LISTENING = "0A"


def owner_of(protocol: str, port: int) -> str:
    """For people: name and pid, or `UNKNOWN`. Reads all of /proc: call it in a thread."""
    sockets = {f"socket:[{inode}]" for inode in _inodes(protocol, port)}
    if sockets:
        for process in Path("/proc").iterdir():
            if process.name.isdigit() and _has_one(process, sockets):
                with suppress(OSError):
                    name = (process / "comm").read_text(errors="replace").strip()
                    return f"{name!r}, pid {process.name}"
    return UNKNOWN


def _inodes(protocol: str, port: int) -> Iterator[str]:
    for table in (protocol, protocol + "6"):
        with suppress(OSError):
            for line in Path("/proc/self/net", table).read_text().splitlines()[1:]:
                columns = line.split()
                local, state, inode = columns[1], columns[3], columns[9]
                if int(local.rpartition(":")[2], 16) != port:
                    continue
                if protocol == "udp" or state == _LISTENING:
                    yield inode


def _has_one(process: Path, sockets: set[str]) -> bool:
    with suppress(OSError):
        for entry in (process / "fd").iterdir():
            with suppress(OSError):
                if str(entry.readlink()) in sockets:
                    return True
    return False
