"""The network of the VMs, as seen from the host."""

from __future__ import annotations

from ipaddress import IPv4Interface, IPv4Network

import msgspec


class Network(msgspec.Struct, frozen=True):
    """The bridge that all VMs are on. ``gateway`` is the host's own address there."""

    bridge: str
    gateway: IPv4Interface

    @property
    def subnet(self) -> IPv4Network:
        return self.gateway.network
