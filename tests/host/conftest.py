"""Host tests change real interfaces, so this process moves to a network namespace of its own.

It has to happen before any thread starts: a thread keeps the namespace it was born into.
Importing this file moves the whole pytest process, so run ``tests/host`` by itself.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from banger.host.netlink import check_rights
from banger.kernel.errors import HostNotReady

Ip = Callable[..., list[dict[str, Any]]]

CLONE_NEWNET = 0x40000000
SIOCSIFFLAGS = 0x8914
IFF_UP = 0x1


def _enter_own_namespace() -> str | None:
    """Move to a new network namespace with lo up; the reason if that can't be done."""
    if len(list(Path("/proc/self/task").iterdir())) > 1:
        return "threads are running already: run tests/host in a process of its own"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET):
        return f"no own network namespace: {os.strerror(ctypes.get_errno())}"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", IFF_UP))
    return None


_original = Path("/proc/self/ns/net").readlink()
_obstacle = _enter_own_namespace()


@pytest.fixture(scope="session", autouse=True)
def own_network_namespace() -> None:
    """Skip, or fail under CI=true, without a network namespace of our own to break."""
    reason = _obstacle
    if reason is None:
        try:
            check_rights()
        except HostNotReady as error:
            reason = str(error)
    if reason is not None:
        reason += " (run the host tests as root)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    assert Path("/proc/self/ns/net").readlink() != _original


@pytest.fixture
def ip() -> Ip:
    """iproute2, to arrange and to check by other means than the code under test."""
    return run_ip


@pytest.fixture
def veth(clean_namespace: None) -> str:
    """An Ethernet interface that is none of ours, with carrier, not yet up."""
    run_ip("link", "add", "veth", "type", "veth", "peer", "name", "veth-peer")
    run_ip("link", "set", "veth-peer", "up")
    return "veth"


@pytest.fixture(autouse=True)
def clean_namespace(own_network_namespace: None) -> Iterator[None]:
    """Nothing but lo before the test; whatever it left is deleted; no descriptor leaks."""
    assert interfaces() == {"lo"}
    descriptors = open_descriptors()
    yield
    assert open_descriptors() == descriptors
    for name in interfaces() - {"lo"}:
        if name in interfaces():  # a veth's other end goes with it
            run_ip("link", "del", name)
    run_ip("-4", "route", "flush", "table", "all", "proto", "boot")


def run_ip(*arguments: str) -> list[dict[str, Any]]:
    done = subprocess.run(["ip", "-j", *arguments], check=True, capture_output=True, text=True)
    found: list[dict[str, Any]] = json.loads(done.stdout or "[]")
    return found


def interfaces() -> set[str]:
    return {name for _, name in socket.if_nameindex()}


def open_descriptors() -> list[str]:
    return sorted(path.name for path in Path("/proc/self/fd").iterdir())
