"""The guest's network card, and that it can be nobody else on the bridge."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface
from typing import Annotated

from banger.capabilities.capability import API_VERSION, Capability
from banger.capabilities.guest import GuestContribution
from banger.capabilities.host import Step, Vm
from banger.capabilities.options import Options, option
from banger.model.firewall import Pin


class NetworkOptions(Options, frozen=True):
    isolated: Annotated[
        bool, option("Neither reach other VMs nor be reached by them.", "--isolated")
    ] = False


class NetworkCard(Capability[NetworkOptions]):
    api_version = API_VERSION
    name = "network"
    summary = "The guest's address; its TAP lets no other MAC and address through."
    nameless = True
    options = NetworkOptions

    async def prepare(self, vm: Vm, options: NetworkOptions, step: Step) -> None:
        step.undo(lambda: self.host.firewall.unpin(vm.tap))
        await self._pin(vm, options)

    def contribute(self, vm: Vm, options: NetworkOptions, guest: GuestContribution) -> None:
        assert vm.network is not None
        address = IPv4Interface((IPv4Address(vm.address), vm.network.subnet.prefixlen))
        guest.interface(vm.mac, address, gateway=vm.network.gateway.ip)
        guest.host(vm.address, vm.name)
        for resolver in self.host.resolvers:
            guest.resolver(resolver)

    async def changed(
        self, vm: Vm, before: NetworkOptions, options: NetworkOptions, step: Step
    ) -> None:
        if vm.tap:
            step.undo(lambda: self._pin(vm, before))
            await self._pin(vm, options)

    async def stopped(self, vm: Vm, options: NetworkOptions, step: Step) -> None:
        await self.host.firewall.unpin(vm.tap)

    async def adopted(self, vm: Vm, options: NetworkOptions, step: Step) -> None:
        await self._pin(vm, options)

    async def _pin(self, vm: Vm, options: NetworkOptions) -> None:
        await self.host.firewall.pin(Pin(vm.tap, vm.mac, vm.address, options.isolated))
