"""What the capability's hooks and commands ask of its service `NameServer`."""

from __future__ import annotations

import msgspec
from banger.capabilities import Network, Request

from banger_dns.book import Claim


class CheckNames(Request[None], frozen=True):
    """Raises `Conflict` for a name that another VM has. With ``take`` they are the VM's now."""

    claim: Claim
    take: bool


class SetNames(Request[None], frozen=True):
    """Give the VM these names instead of those it had, and answer with ``address``, if any.

    ``network`` is where the VM is. Raises `Conflict`.
    """

    claim: Claim
    address: str = ""
    network: Network | None = None


class RemoveNames(Request[None], frozen=True):
    """Answer for the VM no more. Its names stay reserved unless it is to be forgotten."""

    vm_id: str
    forget: bool = False


NOT_YET = "not yet tried"
"""What is in the way at first, and nobody needs to hear of."""


class Listener(msgspec.Struct, frozen=True):
    """A place to listen at, and what is in the way; "" when nothing is."""

    address: str
    port: int
    problem: str = ""
    hint: str = ""


class Name(msgspec.Struct, frozen=True):
    """A line of ``dns list``. The field names are a stable interface."""

    name: str
    address: str
    vm: str
    alias: bool


class Status(msgspec.Struct, frozen=True):
    network: Network | None
    problem: str
    """Why there is no network."""
    listeners: tuple[Listener, ...]
    names: tuple[Name, ...]
    resolvers: tuple[str, ...]
    """Who is asked for all other names."""
    vm_ids: frozenset[str]
    """The VMs that are answered for."""

    @property
    def settled(self) -> bool:
        """Everything was tried once."""
        if self.network is None:
            return bool(self.problem)
        return bool(self.listeners) and all(each.problem != NOT_YET for each in self.listeners)


class GetStatus(Request[Status], frozen=True):
    pass


class Reconcile(Request[str], frozen=True):
    """Answer for the VMs that run and for no others; what was done, for people."""
