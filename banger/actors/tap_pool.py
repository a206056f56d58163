"""The TAP pool: the VMs' network on the host.

It owns the bridge, keeps a few idle TAPs ready (``tap-pool-N``) and leases them to VMs
(``tap-`` + the VM's short id), with a MAC and an address. Leases are stored nowhere: after
a restart they are read back from the records and from the TAPs' names and aliases.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path

import msgspec
import trio

from banger.actors.blocking import run_blocking
from banger.host import netlink
from banger.kernel.actor import Actor, Inbox
from banger.kernel.errors import BangerError, Conflict, HostNotReady, NotFound, UsageError
from banger.kernel.message import Request
from banger.kernel.store import write_durably
from banger.model.firewall import Pin
from banger.model.network import Network

log = logging.getLogger(__name__)

IDLE_PREFIX = "tap-pool-"
LEASED_PREFIX = "tap-"
MAC_PREFIX = "02:fc"
"""Locally administered; the four bytes of the address follow, so MACs are as unique."""


class TapLease(msgspec.Struct, frozen=True):
    tap: str
    mac: str
    address: str
    network: Network


class AddressLease(msgspec.Struct, frozen=True):
    mac: str
    address: str


class Holding(msgspec.Struct, frozen=True):
    """What a record says a VM has; ``address`` is "" until it was given one."""

    vm_id: str
    address: str


class _Stock(msgspec.Struct):
    """What there is on the host."""

    network: Network
    addresses: dict[str, IPv4Address]
    leased: dict[str, str] = {}
    idle: list[str] = []
    unknown: list[tuple[str, IPv4Address]] = []


class AcquireAddress(Request[AddressLease], frozen=True):
    """An address for the life of a VM."""

    vm_id: str


class ReleaseAddress(Request[None], frozen=True):
    vm_id: str


class AcquireTap(Request[TapLease], frozen=True):
    """A TAP for one run of a VM with this address. The one it has, when it has one already."""

    vm_id: str
    address: str


class ReleaseTap(Request[None], frozen=True):
    """Give the TAP back. Only after the VMM's exit is confirmed. Idempotent."""

    vm_id: str


class GetNetwork(Request[Network], frozen=True):
    """Makes the bridge if need be. Raises `HostNotReady` when that can't be done."""


class ListUnknown(Request[list[Pin]], frozen=True):
    """TAPs in use by VMs whose records can't be read, with what they may send as."""


class Dismantle(Request[None], frozen=True):
    """Remove the idle TAPs, and the bridge when no TAP is leased."""


class TapPool(Actor):
    name = "tap-pool"

    def __init__(
        self,
        *,
        bridge_name: str,
        wanted_subnet: str,
        subnet_file: Path,
        size: int,
        holdings: Callable[[], Iterable[Holding]],
    ) -> None:
        """``holdings()`` reads the records; ``subnet_file`` remembers an automatic choice."""
        self._bridge = bridge_name
        self._wanted = wanted_subnet
        self._subnet_file = subnet_file
        self._size = size
        self._holdings = holdings
        self._network: Network | None = None
        self._addresses: dict[str, IPv4Address] = {}
        self._leased: dict[str, str] = {}
        self._idle: dict[str, None] = {}
        """In order of age; each once, whether it was found or made."""
        self._underway: set[str] = set()
        """Being made; nobody has them yet."""
        self._counted = False
        """The addresses have been read from the records."""
        self._unknown: list[tuple[str, IPv4Address]] = []
        self._numbers = itertools.count()
        self._making = trio.Lock()
        self._wake_refill = trio.Event()

    async def run(self, inbox: Inbox) -> None:
        try:
            await self._prepare()
        except BangerError as error:
            # Asked for a TAP it tries again, and the asker gets the reason.
            log.warning("no network for VMs yet: %s", error)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._refill)
            async for envelope in inbox:
                with envelope:
                    envelope.reply(await self._answer(envelope.request))
            nursery.cancel_scope.cancel()

    async def _answer(self, request: Request[object]) -> object:
        match request:
            case AcquireAddress():
                return await self._acquire_address(request.vm_id)
            case ReleaseAddress():
                self._addresses.pop(request.vm_id, None)
            case AcquireTap():
                return await self._acquire_tap(request.vm_id, IPv4Address(request.address))
            case ReleaseTap():
                await self._release_tap(request.vm_id)
            case GetNetwork():
                return await self._prepare()
            case ListUnknown():
                return [Pin(tap, mac_of(ip), str(ip)) for tap, ip in self._unknown]
            case Dismantle():
                await self._dismantle()
            case _:
                raise AssertionError(request)
        return None

    async def _prepare(self) -> Network:
        """The network; made first, or anew when the bridge has disappeared.

        Only for requests, which are answered one by one: nobody leases meanwhile.
        """
        if self._network is None:
            idle = set(self._idle)
            known = {*idle, *self._underway, *(tap for tap, _ in self._unknown)}
            stock = await run_blocking(self._take_stock, known)
            # The refilling has gone on beside.
            added = [name for name in self._idle if name not in idle]
            found = [name for name in stock.idle if name not in self._underway]
            self._idle = dict.fromkeys(found + added)
            self._take_over(stock)
            self._network = stock.network
            self._wake_refill.set()
        return self._network

    def _take_stock(self, known: set[str]) -> _Stock:
        """Make or adopt the bridge, then look at the TAPs. ``known`` are ours, bridge or not."""
        netlink.check_rights()
        holdings = {holding.vm_id: holding.address for holding in self._holdings()}
        gateway = self._choose_gateway()
        netlink.ensure_bridge(self._bridge, gateway)
        addresses = {vm_id: IPv4Address(address) for vm_id, address in holdings.items() if address}
        stock = _Stock(Network(self._bridge, gateway), addresses)
        by_short_id = {vm_id[:8]: vm_id for vm_id in holdings}
        for found in netlink.list_taps():
            owner = by_short_id.get(found.name.removeprefix(LEASED_PREFIX))
            marked = _marked(found)
            ours = owner is not None or found.name in known
            if ours and found.bridge is None:
                log.warning("putting TAP %s back on bridge %s", found.name, self._bridge)
                netlink.attach_tap(found.name, self._bridge)
            elif not ours and found.bridge != self._bridge:
                continue
            if owner is not None:
                stock.leased[owner] = found.name
            elif found.name.removeprefix(IDLE_PREFIX).isdigit():
                stock.idle.append(found.name)
            elif marked is not None and found.carrier:
                # Of a VM whose record can't be read: it still has its address.
                stock.addresses[marked.vm_id] = IPv4Address(marked.address)
                stock.unknown.append((found.name, IPv4Address(marked.address)))
            elif marked is not None:
                log.warning("removing TAP %s, of a VM that is no more", found.name)
                netlink.delete_tap(found.name)
        return stock

    def _take_over(self, stock: _Stock) -> None:
        if not self._counted:
            # Later the records tell less: of an address just given, or just taken back.
            self._addresses = stock.addresses
            self._counted = True
        self._leased = stock.leased
        self._unknown = stock.unknown
        highest = max((_number(name) for name in stock.idle), default=-1)
        self._numbers = itertools.count(max(highest + 1, next(self._numbers)))

    def _choose_gateway(self) -> IPv4Interface:
        found = netlink.find_bridge(self._bridge)
        if self._wanted != "auto":
            try:
                return _gateway(IPv4Network(self._wanted))
            except ValueError as error:
                raise UsageError(
                    f"setting network.subnet: {error}", hint="write it like 172.31.0.0/22"
                ) from None
        if found is not None and found.gateway is not None:
            return found.gateway
        taken = netlink.host_networks(except_bridge=self._bridge)
        remembered = self._remembered_gateway()
        if remembered is not None:
            if not any(remembered.network.overlaps(network) for network in taken):
                return remembered
            if self._addresses or any(holding.address for holding in self._holdings()):
                raise HostNotReady(
                    f"the VMs' network {remembered.network} now overlaps a route of this host",
                    hint="remove that route, or delete the VMs to get another network",
                )
        chosen = _gateway(netlink.choose_subnet(taken))
        write_durably(self._subnet_file, f"{chosen}\n".encode())
        return chosen

    def _remembered_gateway(self) -> IPv4Interface | None:
        try:
            return IPv4Interface(self._subnet_file.read_text().strip())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise HostNotReady(
                f"{self._subnet_file} can't be read: {error}",
                hint="write the gateway into it, like 172.31.0.1/22, or remove it",
            ) from None

    async def _acquire_address(self, vm_id: str) -> AddressLease:
        network = await self._prepare()
        if vm_id not in self._addresses:
            taken = {*self._addresses.values(), network.gateway.ip}
            for address in network.subnet.hosts():
                if address not in taken:
                    self._addresses[vm_id] = address
                    break
            else:
                raise Conflict(
                    f"all addresses of {network.subnet} are taken", hint="delete some VMs"
                )
        address = self._addresses[vm_id]
        return AddressLease(mac_of(address), str(address))

    async def _acquire_tap(self, vm_id: str, address: IPv4Address) -> TapLease:
        network = await self._prepare()
        self._addresses[vm_id] = address
        if vm_id not in self._leased:
            name = LEASED_PREFIX + vm_id[:8]
            await self._lease(name, f"banger {vm_id} {address}")
            self._leased[vm_id] = name
        return TapLease(self._leased[vm_id], mac_of(address), str(address), network)

    async def _lease(self, name: str, alias: str) -> None:
        while True:
            idle = self._take_idle() or await self._create()
            self._wake_refill.set()
            try:
                tap = await run_blocking(lambda old=idle: netlink.lease_tap(old, name, alias=alias))
            except NotFound:
                log.warning("idle TAP %s has disappeared", idle)
                continue
            if tap.bridge == self._bridge:
                return
            log.warning("idle TAP %s is no longer on bridge %s", idle, self._bridge)
            await run_blocking(netlink.delete_tap, name)

    def _take_idle(self) -> str:
        """The oldest; "" when there is none."""
        oldest = next(iter(self._idle), "")
        self._idle.pop(oldest, None)
        return oldest

    async def _release_tap(self, vm_id: str) -> None:
        name = self._leased.get(vm_id)
        if name is None:
            return
        try:
            if len(self._idle) < self._size:
                idle = await self._make_idle(name)
                self._idle[idle] = None
            else:
                await run_blocking(netlink.delete_tap, name)
        except NotFound:
            log.warning("leased TAP %s has disappeared", name)
        self._leased.pop(vm_id, None)

    async def _make_idle(self, name: str) -> str:
        while True:
            idle = self._next_name()
            try:
                await run_blocking(lambda new=idle: netlink.release_tap(name, new))
            except Conflict:
                continue  # another bridge's
            return idle

    async def _refill(self) -> None:
        while True:
            async with self._making:
                while (network := self._network) and len(self._idle) < self._size:
                    try:
                        made = await self._make()
                        # Only now: meanwhile it may have become another dictionary.
                        self._idle[made] = None
                    except NotFound:
                        self._lose(network)
                    except BangerError as error:
                        log.warning("can't refill the TAP pool: %s", error)
                        break
            self._wake_refill = trio.Event()
            await self._wake_refill.wait()

    async def _create(self) -> str:
        """One more idle TAP, with the bridge made anew when need be."""
        while True:
            network = await self._prepare()
            try:
                return await self._make()
            except NotFound:
                self._lose(network)

    def _lose(self, network: Network) -> None:
        """Its bridge has disappeared; the next request makes it again."""
        if self._network is network:
            log.warning("bridge %s has disappeared", self._bridge)
            self._network = None

    async def _make(self) -> str:
        """One more idle TAP. Raises `NotFound` when there is no bridge."""
        while True:
            name = self._next_name()
            self._underway.add(name)
            try:
                await run_blocking(lambda new=name: netlink.create_tap(new, bridge=self._bridge))
            except Conflict:
                continue  # another bridge's
            finally:
                self._underway.discard(name)
            return name

    def _next_name(self) -> str:
        return f"{IDLE_PREFIX}{next(self._numbers)}"

    async def _dismantle(self) -> None:
        self._size = 0
        async with self._making:
            # Each deletion waits for the kernel for a tenth of a second or more: all at once.
            async with trio.open_nursery() as nursery:
                while self._idle:
                    nursery.start_soon(run_blocking, netlink.delete_tap, self._take_idle())
            if not self._leased and self._network is not None:
                self._network = None
                await run_blocking(netlink.delete_bridge, self._bridge)


def _number(idle: str) -> int:
    return int(idle.removeprefix(IDLE_PREFIX))


def _marked(tap: netlink.Tap) -> Holding | None:
    """Whose it is, as its alias says; None: not one that was leased here."""
    words = tap.alias.split()
    if len(words) != 3 or words[0] != "banger":
        return None
    try:
        IPv4Address(words[2])
    except ValueError:
        return None
    return Holding(words[1], words[2])


def _gateway(network: IPv4Network) -> IPv4Interface:
    return IPv4Interface((network.network_address + 1, network.prefixlen))


def mac_of(address: IPv4Address) -> str:
    return MAC_PREFIX + "".join(f":{byte:02x}" for byte in address.packed)
