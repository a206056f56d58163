"""Holds the host's published ports, so that nobody else can take them.

A held TCP port is bound and does not listen: a connection that no rule leads to a VM is
refused, as it would be without us.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address

import trio
from banger.capabilities import Conflict, HostNotReady, UsageError, Vm

from banger_nat.owner import owner_of
from banger_nat.publication import Publication

Place = tuple[IPv4Address, int, str]
"""Address, port and protocol."""


class HeldPorts:
    def __init__(self) -> None:
        self._held: dict[str, dict[Place, socket.socket]] = {}
        self._published: dict[str, tuple[str, tuple[Publication, ...]]] = {}
        """By the VM's id: its name and what it has."""

    async def check(self, vm: Vm, wanted: Sequence[Publication]) -> None:
        """Raises `Conflict` naming who has a port, `UsageError` or `HostNotReady`; what the VM
        itself holds is free for it."""
        own = self._held.get(vm.id, {})
        for each in wanted:
            if not any(_overlaps(each, place) for place in own):
                (await self._take(vm, each)).close()

    async def hold(self, vm: Vm, wanted: Sequence[Publication]) -> None:
        """Take what the VM does not have yet; all or nothing. Raises like `check`."""
        own = self._held.setdefault(vm.id, {})
        missing = [each for each in wanted if _place(each) not in own]
        for place in [p for p in own if any(_overlaps(each, p) for each in missing)]:
            own.pop(place).close()
        taken: dict[Place, socket.socket] = {}
        try:
            for each in missing:
                taken[_place(each)] = await self._take(vm, each)
        except BaseException:
            for sock in taken.values():
                sock.close()
            raise
        own.update(taken)
        self._published[vm.id] = (vm.name, tuple(wanted))

    def keep(self, vm_id: str, wanted: Iterable[Publication]) -> None:
        """Give back what is not wanted."""
        own = self._held.get(vm_id, {})
        places = {_place(each) for each in wanted}
        for place in own.keys() - places:
            own.pop(place).close()

    def release(self, vm_id: str) -> None:
        """Give back all of a VM's. Idempotent."""
        for sock in self._held.pop(vm_id, {}).values():
            sock.close()
        self._published.pop(vm_id, None)

    async def _take(self, vm: Vm, wanted: Publication) -> socket.socket:
        for owner, (name, published) in self._published.items():
            if owner != vm.id and any(wanted.overlaps(other) for other in published):
                raise Conflict(
                    f"port {wanted.place} is published by VM {name!r}",
                    hint=f"publish another port, or 'banger vm port remove {name} "
                    f"{wanted.host_port}/{wanted.protocol}'",
                )
        try:
            return bind(wanted)
        except OSError as error:
            failure = error
        if failure.errno == errno.EADDRINUSE:
            owner = await trio.to_thread.run_sync(owner_of, wanted.protocol, wanted.host_port)
            raise Conflict(
                f"port {wanted.place} of this host is taken by {owner}",
                hint="publish another port, or end that program",
            )
        if failure.errno == errno.EADDRNOTAVAIL:
            raise UsageError(
                f"can't publish port {wanted.place}: {wanted.address} is no address of this host",
                hint="'ip -4 address' shows them; without an address it is all of them",
            )
        raise HostNotReady(f"can't publish port {wanted.place}: {failure.strerror or failure}")


def bind(wanted: Publication) -> socket.socket:
    """A socket that has the port to itself. Raises OSError."""
    kind = socket.SOCK_STREAM if wanted.protocol == "tcp" else socket.SOCK_DGRAM
    sock = socket.socket(socket.AF_INET, kind | socket.SOCK_CLOEXEC)
    try:
        if kind == socket.SOCK_DGRAM:
            # What is sent to it is for nobody: the kernel keeps as little as it can.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)
            sock.bind((str(wanted.address), wanted.host_port))
            return sock
        # With this a port can be had that has closed connections in TIME_WAIT, but shared with
        # others who set it as well. Listening once makes it ours alone: Linux 6.18.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((str(wanted.address), wanted.host_port))
        sock.listen(1)
        sock.shutdown(socket.SHUT_RDWR)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    except BaseException:
        sock.close()
        raise
    return sock


def _place(publication: Publication) -> Place:
    return publication.address, publication.host_port, publication.protocol


def _overlaps(publication: Publication, place: Place) -> bool:
    address, port, protocol = place
    return publication.overlaps(Publication(port, protocol, address, port))
