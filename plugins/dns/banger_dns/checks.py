"""What ``banger doctor`` finds about names."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

import trio
from banger.capabilities import Capability, Check, Finding, Ref

from banger_dns.answers import Question
from banger_dns.errors import Malformed, UpstreamFailed
from banger_dns.host_resolver import installed_file
from banger_dns.messages import NOT_YET, GetStatus, Reconcile, Status
from banger_dns.name_server import amiss
from banger_dns.names import labels_of, text_of
from banger_dns.options import DnsOptions
from banger_dns.replies import ANSWER
from banger_dns.resolved import Resolved
from banger_dns.resolvers import DNS_PORT, Resolver, search_domains
from banger_dns.upstream import ask
from banger_dns.watch import index_of
from banger_dns.wire import Type

LOOK_UP_S = 1.5
"""How long anybody is waited for; the doctor has more to do."""
SETTLING_S = 0.5
"""A VM that just ends is off, and a moment later its names are gone."""


class DnsChecks(Capability[DnsOptions]):
    """Half of the capability."""

    zone: str
    resolvers: Callable[[], Sequence[Resolver]]
    root: ClassVar[Path] = Path("/")

    @property
    def server(self) -> Ref:
        raise NotImplementedError

    def checks(self) -> Sequence[Check]:
        server = Check("dns-server", lambda: self._check_server(server))
        resolvers = Check("dns-resolvers", lambda: self._check_resolvers(resolvers))
        zone = Check("dns-zone", lambda: self._check_zone(zone))
        names = Check("dns-names", lambda: self._check_names(names), fix=self._fix_names)
        host = Check("dns-host", lambda: self._check_host(host))
        return server, resolvers, zone, names, host

    async def _settled(self) -> Status:
        status: Status = await self.server.ask(GetStatus())
        with trio.move_on_after(LOOK_UP_S):
            # A daemon that was started for this very check has just begun.
            while not status.settled:
                await trio.sleep(0.05)
                status = await self.server.ask(GetStatus())
        return status

    async def _check_server(self, check: Check) -> Sequence[Finding]:
        status = await self._settled()
        if status.network is None:
            why = status.problem or NOT_YET
            text = f"there is no network to answer in: {why}"
            return [check.warning(text, "the doctor's checks of rights and network say more")]
        found = []
        for each in status.listeners:
            where = f"{each.address} port {each.port}"
            if not each.problem:
                found.append(check.ok(f"names in .{self.zone} are answered on {where}"))
            elif each.port == DNS_PORT:
                ours = each.address == str(status.network.gateway.ip)
                lost = ", so guests get no names" if ours else ""
                found.append(check.warning(f"{each.problem}{lost}", each.hint))
            else:
                remedy = "stop it, or choose another port by the setting capabilities.dns.port"
                found.append(check.warning(each.problem, remedy))
        return found

    async def _check_resolvers(self, check: Check) -> Sequence[Finding]:
        status = await self._settled()
        ours = {(each.address, each.port) for each in status.listeners}
        resolvers = self.resolvers()
        loops = [each for each in resolvers if (each.address, each.port) in ours]
        if loops:
            finding = check.failed if len(loops) == len(resolvers) else check.warning
            return [
                finding(
                    f"all other names are asked of {', '.join(map(str, loops))}: banger itself",
                    "set capabilities.dns.upstream to another server, or to '' for the host's own",
                )
            ]
        if status.resolvers:
            return [check.ok(f"all other names are asked of {', '.join(status.resolvers)}")]
        return [
            check.warning(
                f"/etc/resolv.conf names no server, so guests find only names in .{self.zone}",
                "set capabilities.dns.upstream to the address of one",
            )
        ]

    async def _check_zone(self, check: Check) -> Sequence[Finding]:
        zone = labels_of(self.zone)
        remedy = "choose another domain by the setting capabilities.dns.zone"
        for domain in search_domains(self.root / "etc/resolv.conf"):
            if domain[-len(zone) :] == zone:
                text = f"this host's own domain {text_of(domain)} is in the VMs' zone .{self.zone}"
                return [check.warning(f"{text} and hidden from guests", remedy)]
        if zone[-1] == b"local":
            text = f"names in .{self.zone} are looked up by multicast (mDNS) on most machines"
            return [check.warning(text, remedy)]
        for resolver in self.resolvers()[:1]:
            if await _has_zone(resolver, self.zone):
                text = (
                    f"{resolver} knows a domain {self.zone}, which the VMs' zone hides from guests"
                )
                return [check.warning(text, remedy)]
        return [check.ok(f".{self.zone} hides no domain that is known here")]

    async def _check_names(self, check: Check) -> Sequence[Finding]:
        gone, missing = await self._amiss()
        if gone or missing:
            await trio.sleep(SETTLING_S)
            again = await self._amiss()
            gone, missing = gone & again[0], missing & again[1]
        status: Status = await self.server.ask(GetStatus())
        if not gone and not missing:
            return [check.ok(f"{len(status.vm_ids)} VMs are answered for, and no others")]
        remedy = "banger doctor --fix"
        found = []
        if gone:
            found.append(check.failed(f"names of {len(gone)} VMs that do not run", remedy))
        if missing:
            found.append(check.failed(f"{len(missing)} VMs that run have no names", remedy))
        return found

    async def _amiss(self) -> tuple[set[str], set[str]]:
        vms = {vm.id: (vm, options) for vm, options in await self.host.vms()}
        status: Status = await self.server.ask(GetStatus())
        return amiss(vms, status.vm_ids)

    async def _fix_names(self) -> str:
        return await self.server.ask(Reconcile())

    async def _check_host(self, check: Check) -> Sequence[Finding]:
        status: Status = await self.server.ask(GetStatus())
        network = status.network
        if network is not None and installed_file(self.host).exists():
            resolved = Resolved(self.host, network.bridge, str(network.gateway.ip), self.zone)
            if not index_of(network.bridge) or await resolved.is_told():
                return [check.ok(f"this host asks banger for *.{self.zone}, by systemd-resolved")]
            text = f"systemd-resolved has not been told of .{self.zone}"
            return [check.warning(text, "banger dns install")]
        if status.names and await _host_finds(status.names[0].name, status.names[0].address):
            return [check.ok(f"this host finds names in .{self.zone}")]
        text = f"this host itself does not look up names in .{self.zone}"
        if not status.names:
            text = f"whether this host itself looks up names in .{self.zone} shows when a VM runs"
        return [check.ok(f"{text}; see 'banger dns install'")]


async def _has_zone(resolver: Resolver, zone: str) -> bool:
    """Whether it is somebody's in the DNS that this resolver knows."""
    with trio.move_on_after(LOOK_UP_S):
        try:
            reply = await ask(resolver, Question(labels_of(zone), Type.SOA))
        except (UpstreamFailed, Malformed):
            return False
        return any((r.section, r.rtype) == (ANSWER, Type.SOA) for r in reply.records)
    return False


async def _host_finds(name: str, address: str) -> bool:
    def look_up() -> bool:
        try:
            found = socket.getaddrinfo(name, None, family=socket.AF_INET)
        except OSError:
            return False
        return address in {entry[4][0] for entry in found}

    with trio.move_on_after(LOOK_UP_S):
        return await trio.to_thread.run_sync(look_up, abandon_on_cancel=True)
    return False
