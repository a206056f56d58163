"""What the firewall is asked to hold, and what it tells of."""

from __future__ import annotations

import msgspec

from banger.kernel.message import Event


class Pin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A running VM's base entry: what it may send as from ``tap``.

    ``isolated``: no traffic between this VM and any other.
    """

    tap: str
    mac: str
    address: str
    isolated: bool = False


class Rules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """nftables rules that a capability adds, each one line of `nft(8)`'s rule syntax.

    They live in family ``inet``, so addresses are given as ``ip saddr`` and targets as
    ``dnat ip to``. The table runs the rules of all owners one after the other.
    """

    prerouting: tuple[str, ...] = ()
    """nat, dstnat: every packet that comes to this host, from guests or from elsewhere."""
    output: tuple[str, ...] = ()
    """nat: what this host itself sends."""
    forward: tuple[str, ...] = ()
    """filter: routed packets from or to the VMs' bridge. ``accept`` lets them pass; what no
    rule accepts is dropped. Replies of accepted connections pass by themselves."""
    input: tuple[str, ...] = ()
    """filter: packets from guests to this host. What no rule accepts is dropped."""
    postrouting: tuple[str, ...] = ()
    """nat, srcnat: every packet that leaves this host."""


class FirewallReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``owners`` are those with rules; ``intact`` is False while the kernel has other rules
    than the daemon wants (somebody flushed them, and they could not be restored yet)."""

    table: str
    pins: tuple[Pin, ...]
    owners: tuple[str, ...]
    intact: bool


class ForeignDrop(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A chain of somebody else's firewall that drops the VMs' packets.

    ``hook`` is ``forward`` (VMs to each other and to the world) or ``input`` (DNS on this
    host). ``remedy`` is a command line that lets them pass.
    """

    tool: str
    table: str
    chain: str
    hook: str
    remedy: str


class FirewallRestored(Event, frozen=True, tag="firewall-restored"):
    """Somebody removed or changed the rules of ``table``; they are as they were again.

    ``reason`` is ``removed`` or ``changed``.
    """

    table: str
    reason: str
