"""An installation of banger with directories of its own, driven through its command line."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from banger.client.connection import Connection
from banger.host.paths import Paths
from banger.kernel import wire
from banger.kernel.errors import ConnectionLost
from banger.model.requests.vms import ListVms, ShowVm
from tests.documents import check_document

COMMAND_DEADLINE_S = 60
TAIL_BYTES = 2500
COMMAND = str(Path(sys.executable).with_name("banger"))


class Instance:
    """Its daemon is started by the first command that needs it.

    With ``network`` the instance gets a network namespace of its own, so that it can run
    beside another one and what it leaves there can be told apart.
    """

    def __init__(
        self,
        images: Path,
        *,
        network: bool = False,
        prefix: Sequence[str] = (),
        settings: Mapping[str, str] | None = None,
        place: Path = Path("/tmp"),
    ) -> None:
        """``prefix`` is put before the commands, ``settings`` into their environment; all files
        are below ``place``."""
        # Short: sockets are made below, and their paths may have 107 bytes.
        self.root = Path(tempfile.mkdtemp(prefix="bgr-", dir=place))
        kept = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("BANGER_", "XDG_"))
        }
        # A seed costs a boot, and so do VMs that stand ready: those make them who test them.
        own = {"BANGER_TESTING": "1", "BANGER_VM_WARM_SEEDS": "off", "BANGER_STANDBY_SIZE": "0"}
        self.environ = {**kept, **own, **(settings or {})}
        for name in ("config", "state", "cache", "runtime"):
            self.environ[f"XDG_{name.upper()}_{'DIR' if name == 'runtime' else 'HOME'}"] = str(
                self.root / name
            )
            (self.root / name).mkdir()
        self.paths = Paths.of(self.environ, os.geteuid())
        self.prefix = prefix
        self._clients: list[subprocess.Popen[bytes]] = []
        _link_tree(images, self.paths.images)
        self._holder = _hold_namespace() if network else None
        self.namespace = Path(f"/proc/{self._holder.pid if self._holder else 'self'}/ns/net")

    def take_seeds_of(self, other: Instance) -> None:
        """By hard links, as the images: who changes one of the files makes a copy first."""
        _link_tree(other.paths.seeds, self.paths.seeds)

    @property
    def holders(self) -> set[int]:
        """Processes that keep the instance's network namespace alive."""
        return {self._holder.pid} if self._holder else {os.getpid()}

    def dispose(self) -> None:
        """Remove what the instance itself is made of. Its daemon must have ended."""
        if self._holder is not None:
            self._holder.kill()
            self._holder.wait()
        shutil.rmtree(self.root)

    # --- the command line ---

    def argv(self, *arguments: str) -> list[str]:
        return [*self._entering(), *self.prefix, COMMAND, *arguments]

    def _entering(self) -> list[str]:
        return ["nsenter", f"--net={self.namespace}"] if self._holder else []

    def run(
        self,
        *arguments: str,
        code: int | None = 0,
        input: str = "",
        timeout: float = COMMAND_DEADLINE_S,
    ) -> subprocess.CompletedProcess[str]:
        """Run ``banger`` to its end; it must exit with ``code``, None: any."""
        done = self.run_bytes(*arguments, code=code, input=input.encode(), timeout=timeout)
        return subprocess.CompletedProcess(
            done.args,
            done.returncode,
            done.stdout.decode(errors="replace"),
            done.stderr.decode(errors="replace"),
        )

    def run_bytes(
        self,
        *arguments: str,
        code: int | None = 0,
        input: bytes = b"",
        timeout: float = COMMAND_DEADLINE_S,
    ) -> subprocess.CompletedProcess[bytes]:
        done = subprocess.run(
            self.argv(*arguments),
            input=input,
            capture_output=True,
            timeout=timeout,
            env=self.environ,
            check=False,
        )
        if code is not None and done.returncode != code:
            pytest.fail(
                f"banger {' '.join(arguments)[:300]}: exit code {done.returncode}, not {code}\n"
                f"stdout: {done.stdout[-2000:]!r}\nstderr: {done.stderr[-2000:]!r}"
            )
        return done

    def json(self, *arguments: str, code: int = 0) -> Any:
        """The command's ``--json`` output: one document that fits its schema, and all there is."""
        at = arguments.index("--") if "--" in arguments else len(arguments)
        done = self.run(*arguments[:at], "--json", *arguments[at:], code=code)
        assert done.stderr == ""
        document = json.loads(done.stdout)
        check_document(arguments, document)
        return document

    def error(self, *arguments: str, code: int) -> str:
        """What a failing command says: one line on stderr, nothing on stdout."""
        done = self.run(*arguments, code=code)
        assert done.stdout == ""
        assert re.fullmatch(r"banger: [^\n]+\n", done.stderr), done.stderr
        return done.stderr

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start ``banger`` and return at once; stdin, stdout and stderr are pipes."""
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        client = subprocess.Popen(self.argv(*arguments), env=self.environ, **{**pipes, **options})
        self._clients.append(client)
        return client

    def end_clients(self) -> None:
        """End what `start` has started and what still runs after its test."""
        for client in self._clients:
            client.kill()
            client.wait()
            for pipe in filter(None, (client.stdin, client.stdout, client.stderr)):
                with contextlib.suppress(OSError):
                    pipe.close()
        self._clients.clear()

    def tool(self, *argv: str, code: int = 0) -> str:
        """Run another program in the instance's network; its stdout."""
        done = subprocess.run(
            [*self._entering(), *argv],
            capture_output=True,
            text=True,
            env=self.environ,
            timeout=COMMAND_DEADLINE_S,
            check=False,
        )
        assert done.returncode == code, f"{argv}: exit code {done.returncode}: {done.stderr}"
        return done.stdout

    # --- VMs ---

    def create(self, name: str, *options: str) -> dict[str, Any]:
        view: dict[str, Any] = self.json("vm", "create", "--name", name, *options)
        return view

    def show(self, name: str) -> dict[str, Any]:
        view: dict[str, Any] = self.json("vm", "show", name)
        return view

    def state(self, name: str) -> str:
        with self.connect() as connection:
            return connection.call(ShowVm(name)).state.value

    def sh(self, name: str, script: str, *, code: int | None = 0, **options: Any) -> str:
        """Run a shell script in the guest; its stdout."""
        return self.run("vm", "exec", name, "--", "sh", "-c", script, code=code, **options).stdout

    def names(self) -> set[str]:
        with self.connect() as connection:
            return {view.name for view in connection.call(ListVms())}

    def record(self, name: str) -> Path:
        return self.paths.vms / name / "record.json"

    def links(self) -> set[str]:
        """The network interfaces in the instance's namespace."""
        return {link["ifname"] for link in json.loads(self.tool("ip", "-j", "link"))}

    def leased(self) -> set[str]:
        return {name for name in self.links() if re.fullmatch(r"tap-[0-9a-f]{8}", name)}

    # --- the daemon ---

    def logged(self) -> Iterator[dict[str, Any]]:
        """The events in the log, oldest first."""
        if self.paths.event_log.exists():
            for line in self.paths.event_log.read_text().splitlines():
                with contextlib.suppress(ValueError):  # a daemon was killed while it wrote this
                    yield json.loads(line)

    def connect(self) -> Connection:
        """A connection for what the command line would not do."""
        # Lost: by a daemon that was just killed.
        with contextlib.suppress(OSError, ConnectionLost):
            return Connection(self.paths.socket)
        self.run("daemon", "start")
        return Connection(self.paths.socket)

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = self.json("daemon", "status")
        return status

    @property
    def daemon_pid(self) -> int | None:
        """Of the running daemon, as its lock file and the kernel say."""
        with contextlib.suppress(FileNotFoundError, ValueError):
            pid = int(self.paths.lock.read_text())
            if is_alive(pid) and b"banger.daemon" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
        return None

    def signal_daemon(self, number: signal.Signals) -> float:
        """Signal the daemon and wait for its end; how many seconds that took."""
        pid = self.daemon_pid
        assert pid is not None, "no daemon runs"
        begun = time.monotonic()
        os.kill(pid, number)
        wait_until(lambda: not is_alive(pid), 20, "the daemon's end")
        return time.monotonic() - begun

    def tails(self) -> Iterator[tuple[str, str]]:
        """What to look at when a test has failed: titles and the last lines of logs."""
        if not self.root.exists():
            return
        logs = [self.paths.daemon_log, self.paths.event_log]
        for path in [*logs, *sorted(self.paths.vms.glob("*/*.log"))]:
            with contextlib.suppress(OSError):
                text = path.read_bytes()[-TAIL_BYTES:].decode(errors="replace")
                yield f"{path.relative_to(self.root)} of {self.root}", text


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that ended and was not collected does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Look every 20 ms until the condition holds; fail after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"{what}: not after {seconds} s")
        time.sleep(0.02)


def wait_for_item(connection: Connection, deadline_s: float = 30) -> None:
    """Wait until the call in flight on the connection has sent its first item."""
    deadline = time.monotonic() + deadline_s
    while not isinstance(connection.receive(), wire.Item):
        assert time.monotonic() < deadline


def _link_tree(source: Path, target: Path) -> None:
    """The images by hard links: nothing of an image is ever written again."""
    target.mkdir(parents=True)
    target.parent.chmod(0o700)
    for image in source.iterdir():
        if image.name.startswith("."):
            continue
        copied = target / image.name
        try:
            shutil.copytree(image, copied, copy_function=os.link)
        except (shutil.Error, OSError):
            shutil.rmtree(copied, ignore_errors=True)
            command = ["cp", "-a", "--sparse=always", "--reflink=auto", str(image), str(copied)]
            subprocess.run(command, check=True)


def _hold_namespace() -> subprocess.Popen[bytes]:
    """A process in a new network namespace with lo up; it says so and sleeps."""
    script = "ip link set lo up && echo ready && exec sleep infinity"
    argv = ["unshare", "--net", "sh", "-c", script]
    holder = subprocess.Popen(argv, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    with holder.stdout as stdout:
        assert stdout.readline() == b"ready\n", "no network namespace"
    return holder
