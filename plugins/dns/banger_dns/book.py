"""Who has which name: each belongs to one VM, whether it runs or not."""

from __future__ import annotations

from collections.abc import Container

import msgspec
from banger.capabilities import Conflict


class Claim(msgspec.Struct, frozen=True):
    """The names of a VM, relative to the zone; none for one that wants none."""

    vm_id: str
    vm_name: str
    names: tuple[str, ...]


class NameBook:
    """Nothing here waits, so two who want one name come one after the other."""

    def __init__(self) -> None:
        self._claims: dict[str, Claim] = {}
        self._owners: dict[str, str] = {}

    def __contains__(self, vm_id: str) -> bool:
        return vm_id in self._claims

    def check(self, claim: Claim) -> None:
        """Raise `Conflict`, naming the other VM, when one of the names is taken."""
        for name in claim.names:
            owner = self._owners.get(name, claim.vm_id)
            if owner != claim.vm_id:
                other = self._claims[owner].vm_name
                if name == other:
                    raise Conflict(f"there is a VM {name!r}", hint="choose another DNS alias")
                raise Conflict(
                    f"the name {name!r} is taken: it is a DNS alias of VM {other!r}",
                    hint=f"choose another, or 'banger vm set {other} --dns-alias …' first",
                )

    def put(self, claim: Claim) -> None:
        """Give the VM these names instead of those it had. Raises `Conflict`."""
        self.check(claim)
        self.drop(claim.vm_id)
        self._claims[claim.vm_id] = claim
        self._owners |= dict.fromkeys(claim.names, claim.vm_id)

    def drop(self, vm_id: str) -> None:
        claim = self._claims.pop(vm_id, None)
        for name in claim.names if claim else ():
            del self._owners[name]

    def drop_all_but(self, vm_ids: Container[str]) -> None:
        for vm_id in list(self._claims):
            if vm_id not in vm_ids:
                self.drop(vm_id)
