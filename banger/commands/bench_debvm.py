"""What others take: debvm's VM of the same Debian, from a copy of its image to a login by ssh."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from banger.commands.bench_host import run_process, timed
from banger.commands.bench_image_files import PLACE
from banger.commands.bench_report import since
from banger.kernel.errors import BangerError, CommandFailed, HostNotReady, TimedOut

PACKAGES = {
    "debvm-create": "debvm",
    "debvm-run": "debvm",
    "mmdebstrap": "mmdebstrap",
    "genext2fs": "genext2fs",
    "ssh": "openssh-client",
}
DEADLINE_S = 300.0
BANNER_S = 10.0
AGAIN_S = 0.2
ENDING_S = 10.0
LOG = "log"
TAIL = 300
"""How much of what a script had to say is told."""
EMULATED = ("--", "-machine", "accel=tcg", "-cpu", "qemu64")
"""For hosts whose /dev/kvm runs no guest: debvm goes by its being there."""


def check_installed() -> None:
    """Raises `HostNotReady` for the first program that is missing."""
    for program, package in PACKAGES.items():
        if shutil.which(program) is None:
            raise HostNotReady(
                f"'{program}' is not installed, and --debvm needs it",
                hint=f"install the package {package}",
            )


@contextmanager
def image(note: Callable[[str], None]) -> Iterator[tuple[Path, float]]:
    """A directory with an image of debvm's and a key for it, and the seconds that took. It goes
    when the block ends."""
    with tempfile.TemporaryDirectory(prefix="banger-bench-", dir=PLACE) as name:
        directory = Path(name)
        note("making debvm's image, which takes a minute or more")
        run_process(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / "key")])
        yield directory, timed(lambda: _make_image(directory)) / 1000


def to_ssh(directory: Path, *, emulated: bool) -> float:
    """Milliseconds from a copy of the image to the end of ``ssh … true``."""
    port = _free_port()
    disk = directory / "disk"
    begun = time.perf_counter()
    try:
        run_process(["cp", "--sparse=always", str(directory / "image"), str(disk)])
        argv = ["debvm-run", "-i", str(disk), "-s", str(port), *(EMULATED if emulated else ())]
        with _session(argv, directory) as process:
            try:
                _await_banner(port, process)
            except BangerError as error:
                words = (directory / LOG).read_text(errors="replace").split()
                raise BangerError(f"{error.message}: {' '.join(words)[-TAIL:]}") from None
            run_process(_ssh(directory / "key", port))
            return since(begun)
    finally:
        disk.unlink(missing_ok=True)


def _make_image(directory: Path) -> None:
    argv = ["debvm-create", "-r", _release(), "-k", str(directory / "key.pub")]
    argv += ["-o", str(directory / "image")]
    with _session(argv, directory) as process:
        code = process.wait()
    if code != 0:
        raise CommandFailed(argv, code, (directory / LOG).read_text(errors="replace"))


@contextmanager
def _session(argv: list[str], directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A script of debvm's in a session of its own, ended with all that it started.

    They keep files in TMPDIR, and mmdebstrap, when it fails, signals all of its session.
    """
    with (directory / LOG).open("wb") as log:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, "TMPDIR": str(directory)},
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(ENDING_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _await_banner(port: int, process: subprocess.Popen[bytes]) -> None:
    """QEMU listens for the guest from the start, so only a banner tells that sshd does."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise BangerError("'debvm-run' ended before its guest was up")
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=BANNER_S) as stream:
                if stream.recv(4) == b"SSH-":
                    return
        except OSError:
            pass
        time.sleep(AGAIN_S)
    raise TimedOut(f"debvm's guest has no ssh after {DEADLINE_S:.0f} s")


def _ssh(key: Path, port: int) -> list[str]:
    options = {
        "IdentityFile": str(key),
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "no",
        "PreferredAuthentications": "publickey",
        "LogLevel": "ERROR",
    }
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    return ["ssh", "-F", "none", *words, "-p", str(port), "root@127.0.0.1", "true"]


def _release() -> str:
    """This host's own, for which it knows a mirror."""
    system = platform.freedesktop_os_release()
    return system["VERSION_CODENAME"] if system.get("ID") == "debian" else "stable"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
