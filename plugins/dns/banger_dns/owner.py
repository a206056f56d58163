"""Who holds a port: from /proc/net to an inode, from there to a process (proc(5))."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

_LISTENING = "0A"
_TABLES = {
    socket.SOCK_DGRAM: ("udp", "udp6"),
    socket.SOCK_STREAM: ("tcp", "tcp6"),
}


def describe_owner(
    address: str, port: int, kind: socket.SocketKind, proc: Path = Path("/proc")
) -> str:
    """Text such as ``dnsmasq (pid 123)`` for whoever keeps others from binding *address*.

    Says so when it can't be found out. Raises OSError when /proc/net can't be read.
    """
    inodes = set(_inodes(ip_address(address), port, kind, proc))
    if not inodes:
        return "an unknown process (it may have let go by now)"
    owners = sorted({f"{name} (pid {pid})" for pid, name in _processes(inodes, proc)})
    if owners:
        return ", ".join(owners)
    if os.geteuid() != 0:
        return "a process of another user (run as root to see which)"
    return "a process outside this process namespace, such as a container's"


def _inodes(
    address: IPv4Address | IPv6Address, port: int, kind: socket.SocketKind, proc: Path
) -> Iterator[str]:
    for table in _TABLES[kind]:
        try:
            lines = (proc / "net" / table).read_text().splitlines()[1:]
        except FileNotFoundError:
            continue  # no IPv6 here
        for line in lines:
            fields = line.split()
            bound, bound_port = fields[1].split(":")
            if int(bound_port, 16) != port:
                continue
            if kind == socket.SOCK_STREAM and fields[3] != _LISTENING:
                continue
            if _collides(_decode(bound), address):
                yield fields[9]


def _decode(text: str) -> IPv4Address | IPv6Address:
    """The kernel prints each 32 bits of an address in the byte order of the host."""
    words = (int(text[start : start + 8], 16) for start in range(0, len(text), 8))
    packed = b"".join(word.to_bytes(4, sys.byteorder) for word in words)
    if len(packed) == 4:
        return IPv4Address(packed)
    return IPv6Address(packed).ipv4_mapped or IPv6Address(packed)


def _collides(bound: IPv4Address | IPv6Address, wanted: IPv4Address | IPv6Address) -> bool:
    # A socket on :: takes IPv4 as well, unless told not to.
    return bound == wanted or (bound.is_unspecified and bound.version >= wanted.version)


def _processes(inodes: set[str], proc: Path) -> Iterator[tuple[int, str]]:
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for directory in proc.iterdir():
        if not directory.name.isdigit():
            continue
        try:
            if any(_target(entry) in wanted for entry in (directory / "fd").iterdir()):
                name = (directory / "comm").read_text(errors="replace").strip()
                yield int(directory.name), name if name.isprintable() else "?"
        except OSError:
            continue  # ended, or not ours to see


def _target(descriptor: Path) -> str:
    try:
        return str(descriptor.readlink())
    except FileNotFoundError:
        return ""  # closed since it was listed
