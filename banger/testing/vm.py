"""A VM as hooks see it, made up."""

from __future__ import annotations

import hashlib
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Any

import msgspec

from banger.capabilities.host import Vm
from banger.model.network import Network
from banger.model.vm import VmState

NETWORK = Network("banger0", IPv4Interface("10.213.0.1/22"))


def fake_vm(name: str = "box", *, directory: Path = Path("/nowhere"), **fields: Any) -> Vm:
    """A running VM; ``fields`` are those of `Vm` that are to be otherwise.

    Two of one name are alike; those of different names differ in id, address, MAC and TAP.
    """
    digest = hashlib.sha256(name.encode())
    number = int.from_bytes(digest.digest()[:2]) % 1000 + 2
    address = NETWORK.gateway.ip + number
    vm = Vm(
        id=digest.hexdigest()[:32],
        name=name,
        image="debian",
        state=VmState.RUNNING,
        labels={},
        directory=directory,
        address=str(address),
        mac="02:fc:" + address.packed.hex(":"),
        tap=f"tap-{digest.hexdigest()[:8]}",
        network=NETWORK,
    )
    return msgspec.structs.replace(vm, **fields)
