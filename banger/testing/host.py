"""The host as a capability sees it, in memory and in a directory of the test's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec
import trio

from banger.capabilities.capability import AnyCapability
from banger.capabilities.host import CommandResult, OwnSettings, Vm
from banger.host.keys import KeyPair
from banger.host.ruleset import check_pin, check_rules
from banger.kernel.actor import Ref
from banger.kernel.errors import IllegalState, NotFound, UsageError
from banger.model.events import PluginEvent
from banger.model.firewall import Pin, Rules
from banger.model.network import Network
from banger.model.settings import Origin, Settings
from banger.testing.guest import FakeGuest
from banger.testing.programs import Programs
from banger.testing.vm import NETWORK


class FakeFirewall:
    """Keeps what it is given, by key; text that can't be a rule is refused as by the real one."""

    def __init__(self) -> None:
        self.rules: dict[str, Rules] = {}
        self.pins: dict[str, Pin] = {}

    async def put(self, key: str, rules: Rules) -> None:
        check_rules(rules)
        await trio.lowlevel.checkpoint()
        if rules == Rules():
            self.rules.pop(key, None)
        else:
            self.rules[key] = rules

    async def remove(self, key: str) -> None:
        await trio.lowlevel.checkpoint()
        self.rules.pop(key, None)

    async def pin(self, pin: Pin) -> None:
        check_pin(pin)
        await trio.lowlevel.checkpoint()
        self.pins[pin.tap] = pin

    async def unpin(self, tap: str) -> None:
        await trio.lowlevel.checkpoint()
        self.pins.pop(tap, None)


class Known(Protocol):
    """A VM that a `FakeHost` knows; `banger.testing.life.Life` is one."""

    guest: FakeGuest

    @property
    def vm(self) -> Vm: ...

    def options_of(self, capability: str) -> Any: ...

    async def set_options(self, capability: str, fields: Mapping[str, object]) -> None: ...


class FakeHost:
    """A `banger.capabilities.Host`, with what the capability did to it.

    ``settings`` are those of the capability that don't have their defaults, by bare name.
    """

    def __init__(
        self,
        capability: type[AnyCapability],
        directory: Path,
        *,
        settings: Mapping[str, object] | None = None,
    ) -> None:
        self.settings = _own_settings(capability, settings or {})
        self.key = KeyPair(b"the private key of a test\n", "ssh-ed25519 AAAA banger")
        self.resolvers: Sequence[str] = ("192.0.2.53",)
        self.firewall = FakeFirewall()
        self.programs = Programs()
        """What `run` runs."""
        self.events: list[PluginEvent] = []
        self.known: dict[str, Known] = {}
        """The VMs, by name."""
        self.services: dict[str, Ref] = {}
        self._name = capability.name
        self._path = directory / "capabilities" / capability.name

    @property
    def directory(self) -> Path:
        self._path.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self._path

    async def network(self) -> Network:
        await trio.lowlevel.checkpoint()
        return NETWORK

    async def vms(self) -> list[tuple[Vm, Any]]:
        await trio.lowlevel.checkpoint()
        return [(known.vm, known.options_of(self._name)) for known in self.known.values()]

    async def change_options(
        self, vm_name: str, options: dict[str, Any] | Callable[[Any], dict[str, Any]]
    ) -> None:
        known = self._find(vm_name)
        fields = options(known.options_of(self._name)) if callable(options) else options
        await known.set_options(self._name, fields)

    def service(self, name: str) -> Ref:
        if name not in self.services:
            raise KeyError(f"{name!r} is none of the services that run: {list(self.services)}")
        return self.services[name]

    def publish(self, kind: str, **data: Any) -> None:
        event = PluginEvent(self._name, kind, data)
        msgspec.msgpack.encode(event)  # raises for what could not be sent to a client
        self.events.append(event)

    async def run(
        self, argv: Sequence[str], *, stdin: bytes = b"", timeout_s: float = 30.0
    ) -> CommandResult:
        await trio.lowlevel.checkpoint()
        return self.programs.run(argv, stdin)

    async def guest_run(
        self,
        vm: Vm,
        argv: Sequence[str],
        *,
        timeout_s: float = 30.0,
        user: str = "root",
        workdir: str | None = None,
    ) -> CommandResult:
        await trio.lowlevel.checkpoint()
        guest = self._find(vm.name).guest
        if not guest.is_up:
            raise IllegalState(f"the guest of VM {vm.name!r} can't be talked to yet")
        return guest.run(argv)

    def _find(self, name: str) -> Known:
        if name not in self.known:
            raise NotFound(f"there is no VM {name!r}")
        return self.known[name]

    # --- for comparisons ---

    def state(self) -> dict[str, object]:
        """What the capability holds on the host, by what to call it."""
        held: dict[str, object] = {}
        held |= {f"firewall rules {key!r}": rules for key, rules in self.firewall.rules.items()}
        held |= {f"firewall pin of {tap!r}": pin for tap, pin in self.firewall.pins.items()}
        return held | files_below(self._path)

    def lose_firewall(self) -> None:
        """As a daemon that is started anew: it knows no rules until `adopted` puts them."""
        self.firewall.rules.clear()
        self.firewall.pins.clear()


def files_below(directory: Path) -> dict[str, object]:
    """Content by ``file PATH``; of what is no file, its kind."""
    return {
        f"file {path}": path.read_bytes() if path.is_file() and not path.is_symlink() else "other"
        for path in sorted(directory.rglob("*"))
    }


def _own_settings(capability: type[AnyCapability], values: Mapping[str, object]) -> OwnSettings:
    declared = {setting.key: setting for setting in capability.settings}
    for key in values:
        if key not in declared:
            known = ", ".join(declared) or "none"
            raise UsageError(f"{capability.name!r} has no setting {key!r}", hint=f"has: {known}")
    prefix = f"capabilities.{capability.name}."
    origins = {
        prefix + key: Origin(
            prefix + key, setting.check(values.get(key, setting.default)), "test", setting.help
        )
        for key, setting in declared.items()
    }
    return OwnSettings(Settings(origins), capability.name)
