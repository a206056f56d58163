"""The disks of a running QEMU machine, switched to overlays at one point.

Source: QEMU's docs/interop/live-block-operations.rst.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from banger.kernel.errors import VmmError
from banger.vmm.base import DiskSwitch
from banger.vmm.qmp import QmpClient

Nodes = list[tuple[str, str]]
"""Of each disk: the node that the guest's disk is, and that of the overlay."""


async def add_overlays(qmp: QmpClient, switches: Mapping[str, DiskSwitch]) -> Nodes:
    """Make them known to QEMU; ``switches`` are by the drives' serials."""
    return [await _add_overlay(qmp, serial, switch) for serial, switch in switches.items()]


async def switch_to_overlays(qmp: QmpClient, nodes: Nodes) -> None:
    """All at once. The guest stands still."""
    actions = [
        {"type": "blockdev-snapshot", "data": {"node": below, "overlay": above}}
        for below, above in nodes
    ]
    await qmp.execute("transaction", actions=actions)


async def _add_overlay(qmp: QmpClient, serial: str, switch: DiskSwitch) -> tuple[str, str]:
    """Make the overlay known to QEMU; the node it shall lie on, and its own."""
    below = await _top(qmp, serial)
    await _let_reopen(qmp, below, switch.frozen)
    above = f"{serial}-over-{secrets.token_hex(4)}"
    number = await _pass(qmp, switch.overlay, os.O_RDWR)
    protocol = {
        "driver": "file",
        "filename": f"/dev/fdset/{number}",
        "node-name": f"{above}-file",
        # It is ours alone: made for this machine just now. With locks QEMU would stand in its own
        # way when the migration after this one has ended (seen with QEMU 7.2).
        "locking": "off",
        "discard": "unmap",
    }
    layer = {"driver": "qcow2", "file": protocol, "node-name": above, "backing": None}
    await qmp.execute("blockdev-add", **layer, discard="unmap")
    return below, above


async def _top(qmp: QmpClient, serial: str) -> str:
    """The node that the guest's disk is now: the first, or the overlay of an earlier snapshot."""
    for device in await qmp.execute("query-block"):
        name: str = device.get("inserted", {}).get("node-name", "")
        if name == serial or name.startswith(f"{serial}-over-"):
            return name
    raise VmmError(f"QEMU has no disk {serial!r}")


async def _let_reopen(qmp: QmpClient, node: str, frozen: Path) -> None:
    """Let QEMU open the file read-only: else it would keep its lock against other readers.

    A set has a descriptor for each way in which its file may be opened.
    """
    await _pass(qmp, frozen, os.O_RDONLY, await _fdset(qmp, node))


async def drop_writers(qmp: QmpClient, nodes: Nodes) -> None:
    """QEMU's locks belong to the descriptors that were in the sets first, and go with them."""
    sets = {found["fdset-id"]: found["fds"] for found in await qmp.execute("query-fdsets")}
    for node, _ in nodes:
        number = await _fdset(qmp, node)
        first = min(found["fd"] for found in sets[number])
        await qmp.execute("remove-fd", **{"fdset-id": number, "fd": first})


async def _fdset(qmp: QmpClient, node: str) -> int:
    """Of the node's file."""
    named: list[dict[str, Any]] = await qmp.execute("query-named-block-nodes", flat=True)
    (file,) = (found["file"] for found in named if found["node-name"] == f"{node}-file")
    return int(file.rpartition("/")[2])


async def _pass(qmp: QmpClient, path: Path, mode: int, fdset: int | None = None) -> int:
    fd = os.open(path, mode | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        return await qmp.add_descriptor(fd, fdset)
    finally:
        os.close(fd)
