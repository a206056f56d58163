"""The builder of a guest's configuration. Capabilities add to it; it finds contradictions.

Everything is plain data, and building has no side effects. What is said twice in the same
way counts once; two capabilities that differ are a `Conflict` that names both.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Interface
from typing import Any

import msgspec

from banger.kernel.errors import Conflict, UsageError
from banger.model import guest
from banger.model.machine import Card, Drive


class GuestPlan(msgspec.Struct, frozen=True):
    """What the contributions come to."""

    config: guest.GuestConfig
    drives: tuple[Drive, ...]
    cards: tuple[Card, ...]
    kernel_arguments: tuple[str, ...]
    early_files: tuple[str, ...] = ()
    """Capabilities that contributed files which the guest needs while it boots."""


class GuestBuilder:
    """What one guest is told, as far as it is known. ``by(NAME)`` gives a capability its pen."""

    def __init__(self) -> None:
        self._said: dict[tuple[str, str], tuple[Any, str]] = {}
        """(part, key within it) → (value, who said it), in the order it was said."""
        self._early: set[str] = set()

    def by(self, capability: str, *, late_files: bool = False) -> GuestContribution:
        """``late_files``: its files need not be there while the guest boots."""
        if not late_files:
            self._early.add(capability)
        return GuestContribution(self, capability)

    def say(self, capability: str, part: str, key: str, value: Any) -> None:
        before, owner = self._said.setdefault((part, key), (value, capability))
        if before != value:
            what = f"{part} {key}" if key else part
            raise Conflict(
                f"capabilities {owner!r} and {capability!r} differ on the guest's {what}: "
                f"{_shown(before)} and {_shown(value)}",
                hint="change the options of one of them, or turn one off",
            )

    def values(self, part: str) -> list[Any]:
        """What was said of a part, in order."""
        return [value for (said, _), (value, _) in self._said.items() if said == part]

    def build(self) -> GuestPlan:
        config = guest.GuestConfig(
            version=guest.VERSION,
            hostname="".join(self.values("hostname")),
            machine_id="".join(self.values("machine-id")),
            interfaces=self.values("interface"),
            resolvers=self.values("resolver"),
            search=self.values("search domain"),
            hosts=self._hosts(),
            authorized_keys=self._authorized_keys(),
            files=self.values("file"),
            mounts=self.values("mount"),
            unnest=self.values("home to unnest"),
            environment=dict(self.values("variable")),
            first_boot=self.values("first-boot command"),
            grow_root=bool(self.values("grow-root")),
        )
        return GuestPlan(
            config,
            tuple(self.values("drive")),
            tuple(self.values("card")),
            tuple(self.values("kernel argument")),
            tuple(sorted(self._early & self._who_said("file"))),
        )

    def _who_said(self, part: str) -> set[str]:
        return {owner for (said, _), (_, owner) in self._said.items() if said == part}

    def _hosts(self) -> list[guest.HostsEntry]:
        by_address: dict[str, list[str]] = {}
        for address, name in self.values("host name"):
            by_address.setdefault(address, []).append(name)
        return [guest.HostsEntry(address, names) for address, names in by_address.items()]

    def _authorized_keys(self) -> list[guest.AuthorizedKeys]:
        by_user: dict[str, list[str]] = {}
        for user, key in self.values("authorized key"):
            by_user.setdefault(user, []).append(key)
        return [guest.AuthorizedKeys(user, keys) for user, keys in by_user.items()]


class GuestContribution:
    """One capability's pen. Every method raises `Conflict` when another one said otherwise."""

    def __init__(self, builder: GuestBuilder, capability: str) -> None:
        self._builder = builder
        self._capability = capability

    def _say(self, part: str, key: str, value: Any) -> None:
        self._builder.say(self._capability, part, key, value)

    def hostname(self, name: str) -> None:
        self._say("hostname", "", name)

    def machine_id(self, machine_id: str) -> None:
        """32 hex digits, as in machine-id(5)."""
        self._say("machine-id", "", machine_id)

    def interface(
        self, mac: str, address: IPv4Interface, *, gateway: IPv4Address | None = None
    ) -> None:
        """The card with this MAC gets the address, and with ``gateway`` the default route."""
        key = f"{mac} {address.ip}"
        value = guest.Interface(mac, str(address), "" if gateway is None else str(gateway))
        self._say("interface", key, value)

    def resolver(self, address: str) -> None:
        """One more name server, asked in the order they were added."""
        self._say("resolver", address, address)

    @property
    def has_resolver(self) -> bool:
        """A capability that ran before has named a name server."""
        return bool(self._builder.values("resolver"))

    def search(self, domain: str) -> None:
        """One more domain in which bare names are looked up."""
        self._say("search domain", domain, domain)

    def host(self, address: str, *names: str) -> None:
        """Names in ``/etc/hosts``. A name has one address."""
        for name in names:
            self._say("host name", name, (address, name))

    def authorized_key(self, user: str, key: str) -> None:
        """One more line for ``~user/.ssh/authorized_keys``, which has no others."""
        self._say("authorized key", f"{user} {key}", (user, key))

    def file(
        self, path: str, data: bytes | str, *, mode: int = 0o644, uid: int = 0, gid: int = 0
    ) -> None:
        """A file, written at each start; text is written as UTF-8. Absolute path, no ``..``."""
        if not path.startswith("/") or ".." in path.split("/") or "\0" in path:
            raise UsageError(
                f"capability {self._capability!r}: {path!r} is no absolute path without '..'"
            )
        content = data.encode() if isinstance(data, str) else data
        self._say("file", path, guest.GuestFile(path, mode, content, uid, gid))

    def mount(self, serial: str, path: str, *, type: str = "ext4", grow: bool = False) -> None:
        """Mount the drive with this serial; ``grow`` resizes its ext4 to the drive."""
        self._say("mount", path, guest.Mount(serial, path, type, grow))

    def unnest(self, home: str) -> None:
        """Move up what an older version has put into ``home/NAME-OF-HOME``; see the protocol."""
        self._say("home to unnest", home, home)

    def environment(self, name: str, value: str) -> None:
        """A variable of every command run through the agent."""
        self._say("variable", name, (name, value))

    def first_boot(self, *argv: str) -> None:
        """A command run once per root disk, as root, when the image's init is up."""
        self._say("first-boot command", repr(argv), list(argv))

    def grow_root(self) -> None:
        """Grow the root file system to its disk."""
        self._say("grow-root", "", True)

    def drive(self, drive: Drive) -> None:
        """One more disk. The capability makes the file in ``prepare``; serial ≤ 20 letters."""
        self._say("drive", drive.serial, drive)

    def card(self, card: Card) -> None:
        """One more network card, on a TAP that the capability made in ``prepare``."""
        self._say("card", card.mac, card)

    def kernel_argument(self, name: str, value: str = "") -> None:
        """``name=value`` on the kernel's command line, or ``name`` alone."""
        text = f"{name}={value}" if value else name
        if not text.isprintable() or " " in text or '"' in text:
            raise UsageError(f"capability {self._capability!r}: {text!r} is no kernel argument")
        self._say("kernel argument", name, text)


def _shown(value: Sequence[Any] | Any) -> str:
    if isinstance(value, guest.GuestFile):
        return f"{len(value.data)} bytes of mode {value.mode:o}"
    if isinstance(value, tuple):
        return str(value[0])
    text = str(value)
    return text if len(text) <= 120 else text[:120] + "…"
