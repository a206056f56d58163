"""``banger dns …`` and ``banger bench dns``."""

from __future__ import annotations

from functools import partial

import msgspec
import trio
from banger.capabilities import (
    Capability,
    CommandCall,
    Kind,
    Network,
    Option,
    Ref,
    Syntax,
    command,
)

from banger_dns.bench_command import run_bench
from banger_dns.host_resolver import HostResolver, Install, Remove
from banger_dns.host_setup import Manager, detect, recipe, undo_recipe
from banger_dns.messages import GetStatus, Status
from banger_dns.options import DnsOptions
from banger_dns.resolved import Resolved

NOT_DONE = 1
"""Exit code when it is left to people."""


class Installation(msgspec.Struct, frozen=True):
    """What ``dns install --json`` prints. The field names are a stable interface."""

    manager: str
    """Who answers the host's programs."""
    done: bool
    recipe: tuple[str, ...]
    """What to do by hand, when it was not done."""


class DnsCommands(Capability[DnsOptions]):
    """Half of the capability."""

    zone: str

    @property
    def server(self) -> Ref:
        raise NotImplementedError

    @command(
        Syntax(
            ("dns", "list"),
            "List the names of the VMs that run.",
            examples=("banger dns list --json",),
        )
    )
    async def dns_list(self, call: CommandCall) -> int:
        status = await self._status()
        call.document = status.names
        rows = [("NAME", "ADDRESS", "VM")]
        rows += [(each.name, each.address, each.vm) for each in status.names]
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        for row in rows:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            await call.line("  ".join(cells).rstrip())
        return 0

    @command(
        Syntax(
            ("dns", "install"),
            "Make this host itself look up the VMs' names.",
            options=(
                Option("undo", ("--undo",), "Take it back.", Kind.FLAG),
                Option(
                    "manager",
                    ("--for",),
                    "Who answers this host's programs; found out when not given.",
                    Kind.CHOICE,
                    choices=tuple(Manager),
                ),
            ),
            details="systemd-resolved is told, and told again when it has forgotten. For others "
            "it is said what to do, and the exit code is 1.",
            examples=("banger dns install", "banger dns install --undo"),
        )
    )
    async def dns_install(self, call: CommandCall) -> int:
        undo = bool(call.parameters["undo"])
        network = await self.host.network()
        manager = await self._manager(call.parameters["manager"], network)
        zone, address = self.zone, str(network.gateway.ip)
        if manager is Manager.RESOLVED:
            resolver = self.host.service(HostResolver.name)
            await resolver.ask(Remove() if undo else Install())
            call.document = Installation(manager, done=True, recipe=())
            what = f"no longer asks banger for *.{zone}" if undo else f"asks {address} for *.{zone}"
            await call.line(f"systemd-resolved {what}")
            return 0
        lines = (
            undo_recipe(manager)
            if undo
            else recipe(
                manager, zone=zone, bridge=network.bridge, address=address, subnet=network.subnet
            )
        )
        call.document = Installation(manager, done=False, recipe=tuple(lines))
        await call.line(f"# this host's names come by {manager}, which is for you to change:")
        for line in lines:
            await call.line(line)
        return NOT_DONE

    async def _manager(self, wanted: str | None, network: Network) -> Manager:
        if wanted is not None:
            return Manager(wanted)
        runs = await self._resolved(network).runs()
        return await trio.to_thread.run_sync(partial(detect, resolved_runs=runs))

    def _resolved(self, network: Network) -> Resolved:
        return Resolved(self.host, network.bridge, str(network.gateway.ip), self.zone)

    async def _status(self) -> Status:
        return await self.server.ask(GetStatus())

    @command(
        Syntax(
            ("bench", "dns"),
            "Measure the DNS server beside dnsmasq: queries a second, latency, CPU.",
            options=(
                Option("names", ("--names",), "Names in the zone.", Kind.NUMBER, "N", 1000),
                Option("seconds", ("--seconds",), "Length of each part.", Kind.NUMBER, "S", 5),
            ),
            details="Both serve the same names from processes of their own, on loopback, in turns. "
            "Takes a little more than four times --seconds. Needs dnsperf and dnsmasq.",
            examples=("banger bench dns --seconds 10",),
        )
    )
    async def bench_dns(self, call: CommandCall) -> int:
        return await run_bench(self.host, call)
