"""Processes that have to do with this installation's VMs and images."""

from __future__ import annotations

import itertools
import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from banger.host import process
from banger.host.paths import Paths
from banger.model.process import ProcessIdentity
from banger.model.text import printable

PROC = Path("/proc")
COMMAND_CHARACTERS = 120
_DELETED = " (deleted)"
_LISTENING_FLAG = 0x10000
"""__SO_ACCEPTCON, the fourth column of /proc/net/unix (include/linux/net.h)."""


class Seen(msgspec.Struct, frozen=True):
    """A process that holds something of ours."""

    identity: ProcessIdentity
    command: str
    machine_id: str | None
    """The id of the VM that a VMM was told on its argument line."""
    vms: frozenset[str]
    """Names of the VMs in whose directories it has files open."""
    runtimes: frozenset[str]
    """Short ids of the VMs on whose sockets it listens."""
    builds: frozenset[str]
    """Directories of image builds it was started for."""


def scan(paths: Paths) -> list[Seen]:
    """All of them but this process. Blocks, for some 20 ms."""
    listening: dict[str, dict[str, str]] = {}
    # Descriptors have resolved paths, sockets the path they were bound with.
    vm_roots = {str(paths.vms.resolve())}
    runtime_roots = {str(paths.vm_runtime), str(paths.vm_runtime.resolve())}
    builds = f"{paths.images}/.building-"
    found = []
    for entry in PROC.iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        pid = int(entry.name)
        argv = process.arguments(pid)
        opened = list(_open_files(pid))
        vms = _components(opened, vm_roots)
        runtimes = _components(_listened(pid, opened, listening), runtime_roots)
        named = frozenset(
            builds + word.removeprefix(builds).partition("/")[0]
            for word in argv
            if word.startswith(builds)
        )
        identity = process.identify(pid) if vms or runtimes or named else None
        if identity is not None:
            command = printable(" ".join(argv).strip(), limit=COMMAND_CHARACTERS)
            found.append(Seen(identity, command, _machine_id(argv), vms, runtimes, named))
    return found


def is_descendant(pid: int, ancestor: int) -> bool:
    """Whether the process was started by ``ancestor`` or by one that was."""
    while pid > 1:
        if pid == ancestor:
            return True
        try:
            stat = (PROC / str(pid) / "stat").read_text(errors="replace")
        except OSError:
            return False
        # The parent's pid is the second field after the command's name (proc(5)).
        pid = int(stat[stat.rindex(")") + 1 :].split()[1])
    return False


def _open_files(pid: int) -> Iterator[str]:
    try:
        descriptors = list((PROC / str(pid) / "fd").iterdir())
    except OSError:
        return
    for descriptor in descriptors:
        try:
            yield os.readlink(descriptor)  # noqa: PTH115 - Path would normalise it
        except OSError:
            continue


def _listened(pid: int, opened: Sequence[str], cache: dict[str, dict[str, str]]) -> Iterator[str]:
    """The paths of the UNIX sockets the process listens on."""
    inodes = [target[8:-1] for target in opened if target.startswith("socket:[")]
    if not inodes:
        return
    try:
        # A socket is listed in the network namespace it was made in.
        namespace = os.readlink(PROC / str(pid) / "ns/net")  # noqa: PTH115 - as above
        if namespace not in cache:
            cache[namespace] = _unix_sockets(PROC / str(pid) / "net/unix")
    except OSError:
        return
    for inode in inodes:
        if inode in cache[namespace]:
            yield cache[namespace][inode]


def _unix_sockets(table: Path) -> dict[str, str]:
    """Paths of listening sockets by inode (proc(5))."""
    sockets = {}
    for line in table.read_text(errors="replace").splitlines()[1:]:
        fields = line.split(maxsplit=7)
        if len(fields) == 8 and int(fields[3], 16) & _LISTENING_FLAG:
            sockets[fields[6]] = fields[7]
    return sockets


def _components(files: Iterable[str], roots: Iterable[str]) -> frozenset[str]:
    """The names of the directories right below the roots that the files are in."""
    found = set()
    for file in files:
        for root in roots:
            name, _, rest = file.removesuffix(_DELETED).removeprefix(f"{root}/").partition("/")
            if file.startswith(f"{root}/") and rest:
                found.add(name)
    return frozenset(found)


def _machine_id(argv: Sequence[str]) -> str | None:
    for flag, value in itertools.pairwise(argv):
        if flag == "-uuid":
            try:
                return uuid.UUID(value).hex
            except ValueError:
                return None
    return None
