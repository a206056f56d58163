"""NAT and published ports around the life of a VM."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

import trio
from banger.capabilities import (
    API_VERSION,
    BangerError,
    Check,
    Finding,
    Host,
    Service,
    Setting,
    Step,
    UsageError,
    Vm,
    VmState,
)

from banger_nat.cut import cut
from banger_nat.options import NatOptions
from banger_nat.port_commands import PortCommands
from banger_nat.ports import HeldPorts
from banger_nat.rules import rules_for
from banger_nat.sysctls import FORWARD, Sysctls, route_localnet
from banger_nat.uplink import UplinkWatch, default_interfaces, interfaces

log = logging.getLogger(__name__)

AUTO, ALL = "auto", "all"
NOTHING = NatOptions(enabled=False)

_INTERFACE = re.compile(r"[A-Za-z0-9_.@+-]{1,15}")
_AT_REST = (VmState.STOPPED, VmState.CRASHED, VmState.FAILED)


class _Served:
    """A running VM. Its rules are put by one at a time, so that the newest are put last."""

    def __init__(self, vm: Vm, options: NatOptions) -> None:
        self.vm, self.options = vm, options
        self.putting = trio.Lock()


class Nat(PortCommands):
    api_version = API_VERSION
    name = "nat"
    summary = "The world for VMs by NAT, rules for what they may reach, published ports."
    nameless = True
    options = NatOptions
    settings = (
        Setting("default", True, "Whether a new VM has NAT when --nat and --no-nat are not given."),
        Setting(
            "interface",
            AUTO,
            "Where VMs leave the host: 'auto' is the default route's interface, 'all' is every "
            "one but the bridge, or names separated by commas.",
        ),
    )

    proc_sys: ClassVar[Path] = Path("/proc/sys")

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._served: dict[str, _Served] = {}
        self._ports = HeldPorts()
        self._sysctls = Sysctls(lambda: self.host.directory, self.proc_sys)
        self._wanted_uplinks = host.settings.text("interface")
        self._uplinks = self._find_uplinks()

    def defaults(self) -> NatOptions:
        return NatOptions(enabled=self.host.settings.flag("default"))

    # --- hooks ---

    async def admit(self, vm: Vm, options: NatOptions) -> None:
        if vm.state is VmState.CREATING:
            _check_egress(options)
        for each in options.published:
            if each.address.is_multicast or each.address.is_reserved:
                raise UsageError(
                    f"can't publish port {each.place}: no host has the address {each.address}",
                    hint="'ip -4 address' shows this host's; without an address it is all of them",
                )
        if vm.state not in _AT_REST:
            await self._ports.check(vm, options.published)

    async def prepare(self, vm: Vm, options: NatOptions, step: Step) -> None:
        step.undo(partial(self._withdraw, vm))
        await self._ports.hold(vm, options.published)
        await self._apply(vm, options)

    async def changed(self, vm: Vm, before: NatOptions, options: NatOptions, step: Step) -> None:
        if options.egress != before.egress:
            _check_egress(options)
        if not vm.tap:
            return
        step.undo(partial(self._return_to, vm, before))
        await self._ports.hold(vm, options.published)
        await self._apply(vm, options)

    async def adopted(self, vm: Vm, options: NatOptions, step: Step) -> None:
        await self._return_to(vm, options)

    async def stopped(self, vm: Vm, options: NatOptions, step: Step) -> None:
        await self._withdraw(vm)

    async def deleted(self, vm: Vm, options: NatOptions, step: Step) -> None:
        await self._withdraw(vm)

    async def _return_to(self, vm: Vm, options: NatOptions) -> None:
        """Whoever has taken one of its ports meanwhile: the VM runs and keeps its rules."""
        try:
            await self._ports.hold(vm, options.published)
        except BangerError as error:
            log.warning("VM %s: %s", vm.name, error)
        await self._apply(vm, options)

    async def _apply(self, vm: Vm, options: NatOptions) -> None:
        """Make everything but the ports what the options say; give surplus ports back."""
        network = vm.network or await self.host.network()
        needed = {FORWARD} if options.enabled or options.published else set[str]()
        if options.published:
            needed.add(route_localnet(network.bridge))
        served = self._served.setdefault(vm.id, _Served(vm, NOTHING))
        before, served.vm, served.options = served.options, vm, options
        async with trio.open_nursery() as nursery:
            # At once: so the rules share the transaction of the base's own.
            nursery.start_soon(self._sysctls.need, vm.id, frozenset(needed))
            await self._put(served)
        self._ports.keep(vm.id, options.published)
        await cut(vm.address, before, options)

    async def _withdraw(self, vm: Vm) -> None:
        served = self._served.pop(vm.id, None)
        try:
            async with served.putting if served else trio.Lock():
                await self.host.firewall.remove(vm.id)
        finally:
            self._ports.release(vm.id)
            if served:
                await cut(vm.address, served.options, NOTHING)
            await self._sysctls.need(vm.id, frozenset())

    async def _put(self, served: _Served) -> None:
        async with served.putting:
            vm = served.vm
            if self._served.get(vm.id) is not served:
                return
            network = vm.network or await self.host.network()
            rules = rules_for(vm.address, network, served.options, self._uplinks)
            await self.host.firewall.put(vm.id, rules)

    # --- the way out ---

    def services(self) -> Sequence[Service]:
        return (Service("uplink", lambda: UplinkWatch(self._look_at_uplinks)),)

    def _find_uplinks(self) -> tuple[str, ...] | None:
        """None: every interface but the bridge."""
        if self._wanted_uplinks == ALL:
            return None
        if self._wanted_uplinks == AUTO:
            return default_interfaces()
        names = [name.strip() for name in self._wanted_uplinks.split(",")]
        for name in names:
            if not _INTERFACE.fullmatch(name):
                raise UsageError(
                    f"setting capabilities.nat.interface: {name!r} is no name of an interface",
                    hint=f"{AUTO}, {ALL}, or names as 'ip link' shows them, separated by commas",
                )
        return tuple(names)

    async def _look_at_uplinks(self) -> None:
        found = self._find_uplinks()
        if found == self._uplinks:
            return
        log.info("the way out is now by %s", found or "no interface")
        self._uplinks = found
        async with trio.open_nursery() as nursery:
            for served in list(self._served.values()):
                if served.options.enabled:
                    nursery.start_soon(self._follow, served)
        self.host.publish("uplink-changed", interfaces=list(found or ()))

    async def _follow(self, served: _Served) -> None:
        try:
            await self._put(served)
        except BangerError as error:
            log.warning("VM %s has no NAT: %s", served.vm.name, error)

    # --- checks ---

    def checks(self) -> Sequence[Check]:
        uplink = Check("nat-uplink", lambda: self._check_uplink(uplink))
        forwarding = Check(
            "nat-forwarding", lambda: self._check_forwarding(forwarding), fix=self._fix_forwarding
        )
        return uplink, forwarding

    async def _check_uplink(self, check: Check) -> Sequence[Finding]:
        found = self._find_uplinks()
        if found is None:
            return [check.ok("VMs with NAT leave by every interface but the bridge")]
        there = found if self._wanted_uplinks == AUTO else interfaces()
        missing = [name for name in found if name not in there]
        if missing:
            finding = check.failed if missing == list(found) else check.warning
            return [
                finding(
                    f"there is no interface {', '.join(missing)}, which the setting "
                    "capabilities.nat.interface names as the way out of VMs with NAT",
                    "name one that 'ip link' shows, or set it to 'auto'",
                )
            ]
        if found:
            return [check.ok(f"VMs with NAT leave by {', '.join(found)}")]
        return [
            check.warning(
                "this host has no default route, so VMs with NAT reach nothing beyond it; they "
                "will as soon as there is one",
                "ip route add default via ADDRESS, or set capabilities.nat.interface",
            )
        ]

    async def _check_forwarding(self, check: Check) -> Sequence[Finding]:
        off = await self._sysctls.turned_off()
        if not off:
            return [check.ok("what VMs with NAT or published ports need of the kernel is on")]
        return [
            check.failed(
                f"running VMs need {name.replace('/', '.')}, and somebody has turned it off",
                f"sysctl -w {name}=1",
            )
            for name in off
        ]

    async def _fix_forwarding(self) -> str:
        turned_on = await self._sysctls.turn_on()
        return f"turned on: {', '.join(turned_on)}" if turned_on else "nothing was off"


def _check_egress(options: NatOptions) -> None:
    if options.egress and not options.enabled and options.reachable_with_nat:
        raise UsageError(
            "--egress says what a VM may reach by NAT, and this one has none",
            hint="give --nat, or leave --egress out",
        )
