"""What an instance of banger left on the host."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from tests.vm.instance import Instance

SETTLING_S = 3.0
MEANT_TO_STAY = {
    "config",
    "state/banger",
    "state/banger/bangerd.log",
    "state/banger/capabilities",
    "state/banger/capabilities/dns",
    "state/banger/capabilities/nat",
    "state/banger/images",
    "state/banger/keys",
    "state/banger/keys/id_ed25519",
    "state/banger/keys/id_ed25519.pub",
    "state/banger/keys/id_ed25519.retired",
    "state/banger/events.jsonl",
    "state/banger/repl-history",
    "state/banger/ssh",
    "state/banger/ssh/id_ed25519",
    "state/banger/subnet",
    "state/banger/forks",
    "state/banger/layers",
    "state/banger/standby",
    "state/banger/vms",
    "runtime/banger",
    "runtime/banger/accelerator",
    "runtime/banger/bangerd.lock",
    "runtime/banger/vm",
}


class Footprint:
    """What is there beside the instance's files before it has done anything."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._mounts = _mounts()
        self._rules = self._nft_rules()

    def leaks(self) -> list[str]:
        """One line for each thing left, once a few seconds have not made it go."""
        deadline = time.monotonic() + SETTLING_S
        while (found := list(self._leaks())) and time.monotonic() < deadline:
            time.sleep(0.1)
        return found

    def end_processes(self) -> None:
        """Leaked processes are reported, but not left to burn the host's time."""
        for pid, _ in _processes(self._instance):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _leaks(self) -> Iterator[str]:
        instance = self._instance
        yield from (f"process {pid}: {line}" for pid, line in _processes(instance))
        yield from (f"network interface {name}" for name in sorted(instance.links() - {"lo"}))
        root = str(instance.root)
        yield from (f"mount {mount}" for mount in _mounts() - self._mounts if root in mount)
        yield from (f"loop device {loop}" for loop in _loop_devices() if root in loop)
        if self._nft_rules() != self._rules:
            yield f"nftables rules: {self._nft_rules()}"
        yield from (f"file {path}" for path in _files(instance.root))

    def _nft_rules(self) -> str:
        if shutil.which("nft") is None:
            return ""
        return self._instance.tool("nft", "list", "ruleset")


def _processes(instance: Instance) -> Iterator[tuple[int, str]]:
    """Those in the instance's network namespace or that have to do with its directories."""
    namespace = instance.namespace.readlink()
    root = os.fsencode(instance.root)
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) in {*instance.holders, os.getpid()}:
            continue
        with contextlib.suppress(OSError):
            command = (entry / "cmdline").read_bytes()
            inside = (entry / "ns/net").readlink() == namespace
            if inside or root in command or root in (entry / "environ").read_bytes():
                line = command.replace(b"\0", b" ").decode(errors="replace")
                yield int(entry.name), line[:200]


def _mounts() -> set[str]:
    return set(Path("/proc/self/mounts").read_text().splitlines())


def _loop_devices() -> Iterator[str]:
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        with contextlib.suppress(OSError):
            yield f"{backing.parts[3]}: {backing.read_text().strip()}"


def _files(root: Path) -> Iterator[str]:
    for top in ("config", "state", "runtime"):
        for path in sorted((root / top).rglob("*")):
            relative = str(path.relative_to(root))
            if relative not in MEANT_TO_STAY:
                yield relative
