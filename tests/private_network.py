"""A network namespace of the test process's own, for tests that change interfaces.

The host's network is then out of reach of any mistake, and what a test leaves behind can be
seen. It has to happen before any thread starts: a thread keeps the namespace it was born
into. So a conftest calls `enter` when it is imported, which is before any test runs.
"""

from __future__ import annotations

import ctypes
import fcntl
import functools
import os
import socket
import struct
from pathlib import Path

import pytest

from banger.host.netlink import check_rights
from banger.kernel.errors import HostNotReady

CLONE_NEWNET = 0x40000000
SIOCSIFFLAGS = 0x8914
IFF_UP = 0x1

_original = Path("/proc/self/ns/net").readlink()


@functools.cache
def enter() -> str | None:
    """Move the whole process to a new namespace with lo up; the reason if that can't be done.

    A second call does nothing. What a worker of pytest-xdist talks to its controller with is
    a thread, the only one that may run already: it does no work of the tests'.
    """
    expected = 2 if "PYTEST_XDIST_WORKER" in os.environ else 1
    if len(list(Path("/proc/self/task").iterdir())) > expected:
        return "threads are running already: start pytest in a process of its own"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET):
        return f"no own network namespace: {os.strerror(ctypes.get_errno())}"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", IFF_UP))
    return None


def require(tests: str) -> None:
    """Skip, or fail under CI=true, when there is no namespace of our own to change.

    ``tests`` names what can't be run, for the message.
    """
    reason = enter()
    if reason is None:
        try:
            check_rights()
        except HostNotReady as error:
            reason = str(error)
    if reason is None:
        assert Path("/proc/self/ns/net").readlink() != _original
        return
    message = f"{tests} were not run: {reason} (run them as root)"
    if os.environ.get("CI") == "true":
        pytest.fail(message, pytrace=False)
    pytest.skip(message)
