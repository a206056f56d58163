"""Names around the life of a VM."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import ClassVar

from banger.capabilities import (
    API_VERSION,
    GuestContribution,
    Host,
    Ref,
    Service,
    Setting,
    Step,
    UsageError,
    Vm,
    VmState,
)

from banger_dns.checks import DnsChecks
from banger_dns.commands import DnsCommands
from banger_dns.host_resolver import HostResolver
from banger_dns.messages import CheckNames, RemoveNames, SetNames
from banger_dns.name_server import NameServer, claim_of
from banger_dns.names import labels_of
from banger_dns.options import DnsOptions
from banger_dns.resolvers import DNS_PORT, HostResolvers, Resolver, parse_upstream

LOOPBACK_PORT = 5390
_LARGEST_PORT = 65535


class Dns(DnsChecks, DnsCommands):
    api_version = API_VERSION
    name = "dns"
    summary = "Names for VMs, for the host and for each other; all other names from the host's."
    options = DnsOptions
    settings = (
        Setting("zone", "vm", "Domain of the VMs: one called 'web' is 'web.vm'."),
        Setting(
            "port",
            LOOPBACK_PORT,
            "Port of 127.0.0.1 where the host can ask too, beside 53 of the bridge; 0: none.",
        ),
        Setting(
            "upstream",
            "",
            "Who is asked for all other names: ADDRESS[:PORT], separated by commas; when empty, "
            "the host's own resolvers.",
        ),
    )
    after = ("network",)

    bridge_port: ClassVar[int] = DNS_PORT

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self.zone = _zone(host.settings.text("zone"))
        self.loopback_port = host.settings.number("port")
        if self.loopback_port > _LARGEST_PORT:
            raise UsageError(f"setting capabilities.dns.port: {self.loopback_port} is no port")
        self.resolvers = _resolvers(host.settings.text("upstream"))

    @property
    def server(self) -> Ref:
        return self.host.service(NameServer.name)

    def services(self) -> Sequence[Service]:
        return (
            Service(NameServer.name, self._make_server),
            Service(HostResolver.name, lambda: HostResolver(self.host, self.zone)),
        )

    def _make_server(self) -> NameServer:
        return NameServer(
            self.host,
            self.zone,
            port=self.bridge_port,
            loopback_port=self.loopback_port,
            resolvers=self.resolvers,
        )

    # --- hooks ---

    async def admit(self, vm: Vm, options: DnsOptions) -> None:
        claim = claim_of(vm, options)
        for name in claim.names:
            _check_name(name, self.zone)
        await self.server.ask(CheckNames(claim, take=vm.state is VmState.CREATING))

    async def prepare(self, vm: Vm, options: DnsOptions, step: Step) -> None:
        step.undo(partial(self.server.ask, RemoveNames(vm.id)))
        await self._set(vm, options)

    def contribute(self, vm: Vm, options: DnsOptions, guest: GuestContribution) -> None:
        if not options.enabled:
            return
        assert vm.network is not None
        if not guest.has_resolver:
            guest.resolver(str(vm.network.gateway.ip))
        guest.search(self.zone)
        guest.host(vm.address, f"{vm.name}.{self.zone}")

    async def started(self, vm: Vm, options: DnsOptions, step: Step) -> None:
        # Said already, unless the service was made anew meanwhile.
        await self._set(vm, options)

    async def changed(self, vm: Vm, before: DnsOptions, options: DnsOptions, step: Step) -> None:
        step.undo(partial(self._set, vm, before))
        await self._set(vm, options)

    async def adopted(self, vm: Vm, options: DnsOptions, step: Step) -> None:
        await self._set(vm, options)

    async def stopped(self, vm: Vm, options: DnsOptions, step: Step) -> None:
        await self.server.ask(RemoveNames(vm.id))

    async def deleted(self, vm: Vm, options: DnsOptions, step: Step) -> None:
        await self.server.ask(RemoveNames(vm.id, forget=True))

    async def _set(self, vm: Vm, options: DnsOptions) -> None:
        """Served while it has a TAP; a VM at rest only keeps its names from others."""
        address = vm.address if vm.tap else ""
        await self.server.ask(SetNames(claim_of(vm, options), address, vm.network))


def _zone(text: str) -> str:
    try:
        labels = labels_of(text)
        if labels[-1] == b"arpa":
            raise ValueError("arpa belongs to the Internet")
        if labels[-1] == b"localhost":
            raise ValueError("localhost is every machine's name for itself")
    except ValueError as error:
        raise UsageError(
            f"setting capabilities.dns.zone: {text!r}: {error}", hint="write it like 'vm'"
        ) from None
    return b".".join(labels).decode()


def _resolvers(text: str) -> Callable[[], Sequence[Resolver]]:
    try:
        upstream = parse_upstream(text)
    except ValueError as error:
        raise UsageError(
            f"setting capabilities.dns.upstream: {error}", hint="write it like '192.0.2.53:5353'"
        ) from None
    return (lambda: upstream) if upstream else HostResolvers()


def _check_name(name: str, zone: str) -> None:
    if name.endswith(f".{zone}"):
        raise UsageError(
            f"--dns-alias {name!r}: the zone {zone!r} is added by itself",
            hint=f"write '{name.removesuffix(f'.{zone}')}'",
        )
    try:
        labels_of(f"{name}.{zone}")
    except ValueError as error:
        raise UsageError(f"--dns-alias {name!r}: {error}") from None
