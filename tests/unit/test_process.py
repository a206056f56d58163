"""Processes are never mistaken for others."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from banger.host import process
from banger.model.process import ProcessIdentity

RENAMING = (
    "import ctypes, sys, time\n"
    "ctypes.CDLL(None).prctl(15, bytes.fromhex(sys.argv[1]), 0, 0, 0)\n"
    "print(flush=True)\n"
    "time.sleep(60)\n"
)


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    started = subprocess.Popen(["sleep", "60"])
    yield started
    started.kill()
    started.wait()


def ended(pidfd: int, timeout_s: float = 5.0) -> bool:
    return bool(select.select([pidfd], [], [], timeout_s)[0])


def identity_of(pid: int) -> ProcessIdentity:
    found = process.identify(pid)
    assert found is not None
    return found


def test_oneself() -> None:
    own = identity_of(os.getpid())
    assert own == process.identify(os.getpid())
    assert own.boot_id == process.boot_id()
    assert len(own.boot_id) == 36
    pidfd = process.open_process(own)
    assert pidfd is not None
    os.close(pidfd)


def test_child_is_signalled_and_reaped(child: subprocess.Popen[bytes]) -> None:
    identity = identity_of(child.pid)
    pidfd = process.open_process(identity)
    assert pidfd is not None
    try:
        assert not ended(pidfd, 0)
        process.send_signal(pidfd, signal.SIGTERM)
        assert ended(pidfd)
        # A zombie is nobody.
        assert process.identify(child.pid) is None
        assert process.open_process(identity) is None
        process.send_signal(pidfd, signal.SIGKILL)
        process.reap(pidfd)
        process.reap(pidfd)
        process.send_signal(pidfd, signal.SIGKILL)
        with pytest.raises(ChildProcessError):
            os.waitpid(child.pid, 0)
    finally:
        os.close(pidfd)


def test_reaping_leaves_the_living_alone(child: subprocess.Popen[bytes]) -> None:
    pidfd = os.pidfd_open(child.pid)
    try:
        process.reap(pidfd)
        assert child.poll() is None
    finally:
        os.close(pidfd)


def test_gone() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert process.identify(gone.pid) is None
    assert process.open_process(ProcessIdentity(gone.pid, 1, process.boot_id())) is None
    assert process.arguments(gone.pid) == []


@pytest.mark.parametrize("pid", [0, -1, 2**22 + 1, 2**31 - 1])
def test_pids_that_never_were(pid: int) -> None:
    assert process.identify(pid) is None
    assert process.open_process(ProcessIdentity(pid, 1, process.boot_id())) is None


def test_the_same_pid_is_not_the_same_process(child: subprocess.Popen[bytes]) -> None:
    identity = identity_of(child.pid)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for other in (
        msgspec.structs.replace(identity, start_ticks=identity.start_ticks - 1),
        msgspec.structs.replace(identity, boot_id="00000000-0000-0000-0000-000000000000"),
        msgspec.structs.replace(identity, pid=os.getpid()),
    ):
        assert process.open_process(other) is None
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("name", [b") Z 1 (", b"a b\nc", b"\xff\xfe) R", b"("])
def test_names_that_try_to_confuse(name: bytes) -> None:
    argv = [sys.executable, "-c", RENAMING, name.hex()]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout is not None
            child.stdout.readline()
            assert Path(f"/proc/{child.pid}/comm").read_bytes() == name + b"\n"
            assert identity_of(child.pid).start_ticks >= identity_of(os.getpid()).start_ticks
        finally:
            child.kill()


def test_arguments_and_finding_by_them() -> None:
    mark = f"mark-{os.urandom(8).hex()}"
    with (
        subprocess.Popen(["sleep", "60", "--", "0"]) as other,
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                "import time; print(flush=True); time.sleep(60)",
                mark,
                "\udcff",
            ],
            stdout=subprocess.PIPE,
        ) as marked,
    ):
        try:
            assert marked.stdout is not None
            marked.stdout.readline()
            assert process.find_by_argument(mark) == [marked.pid]
            assert process.find_by_argument(mark[:-1]) == []
            assert process.arguments(marked.pid)[3:5] == [mark, "\udcff"]
        finally:
            other.kill()
            marked.kill()
