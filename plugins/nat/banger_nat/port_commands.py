"""``vm port add``, ``vm port list`` and ``vm port remove``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec
import trio
from banger.capabilities import (
    Argument,
    Capability,
    CommandCall,
    Completion,
    Host,
    NotFound,
    Syntax,
    UsageError,
    command,
)

from banger_nat.egress import NOTHING
from banger_nat.options import NatOptions
from banger_nat.publication import Choice, Publication

T = TypeVar("T")

_NAME = Argument("name", "The VM.", completion=Completion.VM)


class PublishedPort(msgspec.Struct, frozen=True):
    """A line of the list. The field names are a stable interface."""

    vm: str
    address: str
    host_port: int
    guest_port: int
    protocol: str


class PortCommands(Capability[NatOptions]):
    """Half of the capability."""

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._editing = trio.Lock()

    @command(
        Syntax(
            ("vm", "port", "add"),
            "Lead ports of this host to a VM.",
            arguments=(
                _NAME,
                Argument(
                    "ports",
                    "[ADDRESS:]PORT:GUESTPORT[/tcp|udp]; without ADDRESS all of this host's.",
                    many=True,
                    metavar="port:port",
                ),
            ),
            details="A running VM is reached at once, a stopped one from its next start.",
            examples=(
                "banger vm port add web 8080:80",
                "banger vm port add web 127.0.0.1:5353:53/udp",
            ),
        )
    )
    async def port_add(self, call: CommandCall) -> int:
        added = [_parsed(Publication.parse, text) for text in call.parameters["ports"]]

        def change(published: Sequence[Publication]) -> list[Publication]:
            return [*published, *(each for each in added if each not in published)]

        return await self._edit(call, change)

    @command(
        Syntax(
            ("vm", "port", "remove"),
            "Lead ports of this host to a VM no more.",
            arguments=(
                _NAME,
                Argument(
                    "ports",
                    "Ports of this host: [ADDRESS:]PORT[/tcp|udp].",
                    many=True,
                    metavar="port",
                ),
            ),
            examples=("banger vm port remove web 8080",),
        )
    )
    async def port_remove(self, call: CommandCall) -> int:
        name, texts = call.parameters["name"], call.parameters["ports"]
        choices = [_parsed(Choice.parse, text) for text in texts]

        def change(published: Sequence[Publication]) -> list[Publication]:
            for text, choice in zip(texts, choices, strict=True):
                if not any(choice.picks(each) for each in published):
                    raise NotFound(
                        f"VM {name!r} publishes no port {text}",
                        hint=f"'banger vm port list {name}' shows what it publishes",
                    )
            return [each for each in published if not any(c.picks(each) for c in choices)]

        return await self._edit(call, change)

    @command(
        Syntax(
            ("vm", "port", "list"),
            "List the ports of this host that lead to VMs.",
            arguments=(
                Argument(
                    "names", "The VMs; all.", required=False, many=True, completion=Completion.VM
                ),
            ),
            details="Those of VMs that do not run are reserved for nobody.",
        )
    )
    async def port_list(self, call: CommandCall) -> int:
        published = {vm.name: options for vm, options in await self.host.vms()}
        names = list(dict.fromkeys(call.parameters["names"] or sorted(published)))
        for name in names:
            if name not in published:
                raise NotFound(f"there is no VM {name!r}", hint="'banger vm list' shows all")
        await _show(call, [port for name in names for port in _listed(name, published[name])])
        return 0

    async def _edit(
        self,
        call: CommandCall,
        change: Callable[[Sequence[Publication]], list[Publication]],
    ) -> int:
        name = call.parameters["name"]

        def edit(now: NatOptions) -> dict[str, list[str]]:
            return {"publish": [str(each) for each in change(now.published)] or [NOTHING]}

        # Two at once would refuse one another: a VM is changed by one at a time.
        async with self._editing:
            await self.host.change_options(name, edit)
            await _show(call, _listed(name, await self._options(name)))
        return 0

    async def _options(self, name: str) -> NatOptions:
        for vm, options in await self.host.vms():
            if vm.name == name:
                assert isinstance(options, NatOptions)
                return options
        raise NotFound(f"there is no VM {name!r}", hint="'banger vm list' shows all")


def _parsed(parse: Callable[[str], T], text: str) -> T:
    try:
        return parse(text)
    except ValueError as error:
        raise UsageError(str(error)) from None


def _listed(name: str, options: NatOptions) -> list[PublishedPort]:
    return [
        PublishedPort(name, str(each.address), each.host_port, each.guest_port, each.protocol)
        for each in options.published
    ]


async def _show(call: CommandCall, ports: list[PublishedPort]) -> None:
    call.document = ports
    rows = [("VM", "HOST", "GUEST")]
    rows += [(p.vm, f"{p.address}:{p.host_port}", f"{p.guest_port}/{p.protocol}") for p in ports]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        await call.line("  ".join(cells).rstrip())
