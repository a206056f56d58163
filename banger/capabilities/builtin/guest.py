"""Who the guest is, and what every guest has."""

from __future__ import annotations

from banger.capabilities.capability import API_VERSION, Capability
from banger.capabilities.guest import GuestContribution
from banger.capabilities.host import Vm
from banger.capabilities.options import Options


class Guest(Capability[Options]):
    api_version = API_VERSION
    name = "guest"
    summary = "The guest's hostname, machine-id, and a root file system as large as its disk."
    nameless = True

    def contribute(self, vm: Vm, options: Options, guest: GuestContribution) -> None:
        guest.hostname(vm.name)
        guest.machine_id(vm.id)
        guest.grow_root()
