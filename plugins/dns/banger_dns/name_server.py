"""The service that answers: VMs' names in a zone, and the sockets to be asked at."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from ipaddress import IPv4Address
from typing import Any

import trio
from banger.capabilities import (
    Actor,
    BangerError,
    Conflict,
    Host,
    Inbox,
    Network,
    Request,
    Vm,
    VmState,
)

from banger_dns.book import Claim, NameBook
from banger_dns.errors import CannotListen
from banger_dns.messages import (
    NOT_YET,
    CheckNames,
    GetStatus,
    Listener,
    Name,
    Reconcile,
    RemoveNames,
    SetNames,
    Status,
)
from banger_dns.options import DnsOptions
from banger_dns.resolvers import Resolver
from banger_dns.server import DnsServer, make_server
from banger_dns.sockets import bind
from banger_dns.zone import Zone

log = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 5.0
"""Between attempts to listen, or to get a network."""

_UP = (VmState.RUNNING, VmState.PAUSED)
_COMING_OR_GOING = (VmState.CREATING, VmState.STARTING, VmState.STOPPING)


def claim_of(vm: Vm, options: DnsOptions) -> Claim:
    names = tuple(dict.fromkeys((vm.name, *options.aliases))) if options.enabled else ()
    return Claim(vm.id, vm.name, names)


def amiss(
    vms: Mapping[str, tuple[Vm, DnsOptions]], served: Iterable[str]
) -> tuple[set[str], set[str]]:
    """Ids of VMs that are answered for and should not be, and of those the other way round."""
    there = set(served)
    wrong = {i for i in there if i not in vms or vms[i][0].state not in (*_UP, *_COMING_OR_GOING)}
    return wrong, {i for i, (vm, o) in vms.items() if vm.state in _UP and o.enabled} - there


class NameServer(Actor):
    """Rebuilds itself from the VMs there are. What hooks say meanwhile is newer and counts."""

    name = "server"

    def __init__(
        self,
        host: Host,
        zone: str,
        *,
        port: int,
        loopback_port: int,
        resolvers: Callable[[], Sequence[Resolver]],
    ) -> None:
        """``port`` is that of the bridge's address; ``loopback_port`` 0: not there."""
        self._host = host
        self._zone_name = zone
        self._port = port
        self._loopback_port = loopback_port
        self._resolvers = resolvers
        self._book = NameBook()
        self._served: dict[str, tuple[Claim, IPv4Address]] = {}
        self._told: set[str] | None = set()
        """VMs of which hooks have spoken while the rebuilding was under way."""
        self._checking = trio.Lock()
        self._zone: Zone | None = None
        self._network: Network | None = None
        self._news = trio.Event()
        self._problem = ""
        self._listeners: dict[tuple[str, int], Listener] = {}

    async def run(self, inbox: Inbox) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._rebuild)
            nursery.start_soon(self._serve)
            async for envelope in inbox:
                match envelope.request:
                    case CheckNames() | Reconcile():
                        nursery.start_soon(self._answer_slowly, envelope)
                    case request:
                        with envelope:
                            envelope.reply(self._answer(request))
            nursery.cancel_scope.cancel()

    def _answer(self, request: Request[Any]) -> Status | None:
        match request:
            case SetNames(claim, address, network):
                if network is not None and network != self._network:
                    self._network = network
                    self._news.set()
                self._note_told(claim.vm_id)
                self._set(claim, address)
            case RemoveNames(vm_id, forget):
                self._note_told(vm_id)
                self._remove(vm_id)
                if forget:
                    self._book.drop(vm_id)
            case GetStatus():
                return self._status()
            case _:
                raise AssertionError(request)
        return None

    async def _answer_slowly(self, envelope: Any) -> None:
        with envelope:
            match envelope.request:
                case CheckNames(claim, take):
                    await self._check(claim, take)
                    envelope.reply(None)
                case Reconcile():
                    envelope.reply(await self._reconcile())

    # --- names ---

    def _note_told(self, vm_id: str) -> None:
        if self._told is not None:
            self._told.add(vm_id)

    def _set(self, claim: Claim, address: str) -> None:
        self._book.put(claim)
        self._remove(claim.vm_id)
        if address and claim.names:
            self._served[claim.vm_id] = claim, IPv4Address(address)
            self._show(claim.vm_id)

    def _remove(self, vm_id: str) -> None:
        served = self._served.pop(vm_id, None)
        if served is not None and self._zone is not None:
            self._zone.remove_host(served[0].names[0])

    def _show(self, vm_id: str) -> None:
        if self._zone is not None:
            claim, address = self._served[vm_id]
            first, *aliases = claim.names
            try:
                self._zone.set_host(first, [address], aliases)
            except ValueError as error:
                # The setting was changed, and with the new zone a name is too long.
                log.warning("VM %s has no names: %s", claim.vm_name, error)

    async def _rebuild(self) -> None:
        try:
            vms = await self._host.vms()
        except BangerError as error:
            log.warning("the names of running VMs are not known: %s", error)
            vms = ()
        told, self._told = self._told or set(), None
        for vm, options in vms:
            if vm.id not in told and vm.state in _UP:
                try:
                    self._set(claim_of(vm, options), vm.address)
                except Conflict as error:
                    log.warning("VM %s has no names: %s", vm.name, error)

    async def _check(self, claim: Claim, take: bool) -> None:
        """One after the other, so that of two at once that want one name, one gets it."""
        async with self._checking:
            vms = await self._host.vms()
            # A create that failed right after it took its names tells nobody.
            self._book.drop_all_but({claim.vm_id, *(vm.id for vm, _ in vms)})
            for vm, options in vms:
                if vm.id not in self._book:
                    with suppress(Conflict):
                        self._book.put(claim_of(vm, options))
            self._book.check(claim)
            if take:
                self._book.put(claim)

    async def _reconcile(self) -> str:
        vms = {vm.id: (vm, options) for vm, options in await self._host.vms()}
        gone, missing = amiss(vms, self._served)
        for vm_id in gone:
            self._remove(vm_id)
        for vm_id in missing:
            vm, options = vms[vm_id]
            self._set(claim_of(vm, options), vm.address)
        return f"{len(gone)} removed, {len(missing)} added"

    # --- the network ---

    async def _serve(self) -> None:
        """Serve the network there is; anew when hooks tell of another one."""
        pause_s = FIRST_PAUSE_S
        while True:
            self._news = trio.Event()
            if self._network is None:
                await self._find_network(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                continue
            self._problem = ""
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._serve_network, self._network)
                await self._news.wait()
                nursery.cancel_scope.cancel()

    async def _find_network(self, pause_s: float) -> None:
        try:
            network = await self._host.network()
        except BangerError as error:
            self._problem = str(error)
            with trio.move_on_after(pause_s):
                await self._news.wait()
        else:
            self._network = self._network or network

    async def _serve_network(self, network: Network) -> None:
        address = network.gateway.ip
        self._zone = Zone(self._zone_name, subnet=network.subnet, address=address)
        for vm_id in self._served:
            self._show(vm_id)
        server = make_server(self._zone, resolvers=self._resolvers)
        places = [(str(address), self._port)]
        if self._loopback_port:
            places.append((LOOPBACK, self._loopback_port))
        self._listeners = {place: Listener(*place, NOT_YET) for place in places}
        async with trio.open_nursery() as nursery:
            for place in places:
                nursery.start_soon(self._listen, server, *place)

    async def _listen(self, server: DnsServer, address: str, port: int) -> None:
        """Serve at one place, as soon as nobody else has it. A bridge may come and go."""
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                # In a thread, for finding out who has the port takes a while.
                sockets = await trio.to_thread.run_sync(
                    partial(bind, [(address, port)], absent=True)
                )
            except CannotListen as error:
                self._note(Listener(address, port, error.message, error.hint))
                await trio.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                continue
            with sockets:
                self._note(Listener(address, port))
                await server.serve(sockets)

    def _note(self, now: Listener) -> None:
        place = now.address, now.port
        before = self._listeners[place]
        self._listeners[place] = now
        where = f"{now.address} port {now.port}"
        if not now.problem:
            log.info("DNS listens on %s", where)
            if before.problem != NOT_YET:
                self._host.publish("listening-again", address=now.address, port=now.port)
        elif now.problem != before.problem:
            log.warning("DNS does not listen on %s: %s", where, now.problem)
            self._host.publish(
                "cannot-listen", address=now.address, port=now.port, reason=now.problem
            )

    def _status(self) -> Status:
        names = [
            Name(f"{name}.{self._zone_name}", str(address), claim.vm_name, name != claim.names[0])
            for claim, address in self._served.values()
            for name in claim.names
        ]
        return Status(
            network=self._network,
            problem=self._problem,
            listeners=tuple(self._listeners.values()),
            names=tuple(sorted(names, key=lambda each: (each.vm, each.alias, each.name))),
            resolvers=tuple(str(resolver) for resolver in self._resolvers()),
            vm_ids=frozenset(self._served),
        )
