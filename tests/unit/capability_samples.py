"""Capabilities for tests, and a registry of them without entry points."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from banger.capabilities import API_VERSION, Capability, Host, Options, Vm, VmState
from banger.capabilities.capability import AnyCapability
from banger.capabilities.loader import Installed
from banger.capabilities.registry import Registry

A_VM = Vm(
    id="0" * 32,
    name="box",
    image="debian",
    state=VmState.CREATING,
    labels={},
    directory=Path("/nowhere"),
    address="10.0.0.2",
    mac="02:fc:0a:00:00:02",
    tap="tap-00000000",
    network=None,
)


class Plain(Capability[Options]):
    """Base of the samples; each is given its name by `named`."""

    api_version = API_VERSION
    name = "plain"
    summary = "Does nothing."


def named(name: str, base: type[AnyCapability] = Plain, **attributes: Any) -> type[AnyCapability]:
    return type(name, (base,), {"name": name, **attributes})


def registry(*capabilities: type[AnyCapability]) -> Registry:
    installed = [Installed(found.name, f"dist-{found.name}", "1", found) for found in capabilities]
    return Registry(installed, lambda name: cast(Host, None))
