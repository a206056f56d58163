"""Switches of the kernel that are on while a VM needs them, and then as they were before.

What they were, and who needs them, is in a file before the switch is turned: a daemon that is
killed leaves to the next one what it must know. Switches are those of the daemon's network
namespace; they are named by their path below /proc/sys.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import trio
from banger.capabilities import HostNotReady

log = logging.getLogger(__name__)

FORWARD = "net/ipv4/ip_forward"
ON = "1"

_FILE = "sysctls.json"
_BOOT_ID = "kernel/random/boot_id"


def route_localnet(bridge: str) -> str:
    """Lets packets of 127.0.0.1 pass over the bridge."""
    return f"net/ipv4/conf/{bridge}/route_localnet"


class Lent(msgspec.Struct, forbid_unknown_fields=True):
    """The file. ``before`` are values of what we have turned on; ``users`` are ids of VMs."""

    boot_id: str
    before: dict[str, dict[str, str]] = {}
    users: dict[str, list[str]] = {}


class Sysctls:
    """``directory()`` is where the file goes; ``root`` is /proc/sys."""

    def __init__(self, directory: Callable[[], Path], root: Path) -> None:
        self._directory = directory
        self._root = root
        self._lock = trio.Lock()
        self._lent: Lent | None = None

    async def need(self, vm_id: str, names: frozenset[str]) -> None:
        """This VM needs these on and no others. Raises `HostNotReady`. Idempotent."""
        async with self._lock:
            await trio.to_thread.run_sync(self._need, vm_id, names)

    async def turned_off(self) -> list[str]:
        """What is needed by VMs and not on."""
        async with self._lock:
            return await trio.to_thread.run_sync(lambda: list(self._turned_off()))

    async def turn_on(self) -> list[str]:
        """Turn on what is needed; what that was. Raises `HostNotReady`."""
        async with self._lock:
            return await trio.to_thread.run_sync(self._turn_on)

    def _need(self, vm_id: str, names: frozenset[str]) -> None:
        lent = self._load()
        saved = msgspec.json.encode(lent)
        for name, users in list(lent.users.items()):
            if vm_id in users and name not in names:
                users.remove(vm_id)
                if not users:
                    self._give_back(lent, name)
        for name in sorted(names):
            users = lent.users.setdefault(name, [])
            if vm_id not in users:
                users.append(vm_id)
            if self._read(name) != ON:
                lent.before.setdefault(name, self._now(name))
        if msgspec.json.encode(lent) != saved:
            self._save(lent)
        for name in sorted(names):
            self._write(name)

    def _turned_off(self) -> Iterator[str]:
        for name, users in self._load().users.items():
            if users and self._read(name) not in (ON, None):
                yield name

    def _turn_on(self) -> list[str]:
        found = list(self._turned_off())
        for name in found:
            self._write(name)
        return found

    def _now(self, name: str) -> dict[str, str]:
        """The values that turning it on changes. Writing `FORWARD` sets every interface's."""
        found = {name: self._read(name) or ""}
        if name == FORWARD:
            for path in sorted(self._root.glob("net/ipv4/conf/*/forwarding")):
                own = str(path.relative_to(self._root))
                if self._read(own) == ON:
                    found[own] = ON
        return found

    def _give_back(self, lent: Lent, name: str) -> None:
        del lent.users[name]
        before = lent.before.pop(name, {})
        if self._read(name) != ON:
            return  # somebody has turned it off meanwhile
        for each, value in before.items():
            with suppress(OSError):  # gone with its interface
                (self._root / each).write_text(value)

    def _load(self) -> Lent:
        if self._lent is None:
            boot_id = self._read(_BOOT_ID) or ""
            try:
                lent = msgspec.json.decode((self._directory() / _FILE).read_bytes(), type=Lent)
            except FileNotFoundError:
                lent = Lent(boot_id)
            except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                log.warning("what the kernel's switches were is not known any more: %s", error)
                lent = Lent(boot_id)
            # The kernel has forgotten, too.
            self._lent = lent if lent.boot_id == boot_id else Lent(boot_id)
        return self._lent

    def _save(self, lent: Lent) -> None:
        path = self._directory() / _FILE
        if not lent.users:
            path.unlink(missing_ok=True)
            return
        fresh = path.with_suffix(".new")
        try:
            fresh.write_bytes(msgspec.json.encode(lent))
            fresh.replace(path)
        except OSError as error:
            fresh.unlink(missing_ok=True)
            raise HostNotReady(f"can't write {path}: {error.strerror}") from None

    def _read(self, name: str) -> str | None:
        """None: the kernel has no such switch."""
        try:
            return (self._root / name).read_text().strip()
        except OSError:
            return None

    def _write(self, name: str) -> None:
        if self._read(name) == ON:
            return
        try:
            (self._root / name).write_text(ON)
        except OSError as error:
            plain = name.replace("/", ".")
            raise HostNotReady(
                f"can't set {plain}=1: {error.strerror}",
                hint="the VM needs it for NAT and published ports; --no-nat does without",
            ) from None
