"""A running QEMU machine written down whole, with its disks switched to overlays at that point.

QEMU's live migration, to a file: it copies memory while the guest runs, then what was written
meanwhile; with ``pause-before-switchover`` it waits for us when the guest has been stopped and
before it lets go of the disks. Source: QEMU's docs/devel/migration.rst and
docs/interop/live-block-operations.rst.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import trio

from banger.kernel.errors import VmmError
from banger.vmm.base import DiskSwitch
from banger.vmm.qemu_state import BANDWIDTH
from banger.vmm.qmp import QmpClient

POLL_S = 0.001
DOWNTIME_MS = 20
"""How long QEMU may expect to need for the rest of the memory before it stops the guest."""

_NAME = "snapshot"
_WAITING = "pre-switchover"


async def snapshot(qmp: QmpClient, file: int, switches: Mapping[str, DiskSwitch]) -> float:
    """See `Machine.snapshot`."""
    ran = (await qmp.execute("query-status"))["running"]
    await _prepare(qmp)
    nodes = [await _add_overlay(qmp, serial, switch) for serial, switch in switches.items()]
    try:
        await qmp.pass_descriptor(_NAME, file)
        await qmp.execute("migrate", uri=f"fd:{_NAME}")
        await _reached(qmp, _WAITING)
        stopped = trio.current_time()
        await qmp.execute(
            "transaction",
            actions=[
                {"type": "blockdev-snapshot", "data": {"node": below, "overlay": above}}
                for below, above in nodes
            ],
        )
        await qmp.execute("migrate-continue", state=_WAITING)
        await _reached(qmp, "completed")
        if ran:
            await qmp.execute("cont")
        paused_ms = (trio.current_time() - stopped) * 1000
        await _drop_writers(qmp, [below for below, _ in nodes])
        return paused_ms
    except BaseException:
        with trio.CancelScope(shield=True):
            await _go_on(qmp, ran=ran)
        raise


async def _prepare(qmp: QmpClient) -> None:
    # Both ends must agree about the latter; no machine with shared memory is a VM's.
    wanted = ("pause-before-switchover", "x-ignore-shared")
    await qmp.execute(
        "migrate-set-capabilities",
        capabilities=[{"capability": name, "state": True} for name in wanted],
    )
    limits = {"max-bandwidth": BANDWIDTH, "downtime-limit": DOWNTIME_MS}
    await qmp.execute("migrate-set-parameters", **limits)


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


async def _drop_writers(qmp: QmpClient, nodes: list[str]) -> None:
    """QEMU's locks belong to the descriptors that were in the sets first, and go with them."""
    sets = {found["fdset-id"]: found["fds"] for found in await qmp.execute("query-fdsets")}
    for node in nodes:
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


async def _reached(qmp: QmpClient, wanted: str) -> None:
    while True:
        found = await qmp.execute("query-migrate")
        status = found.get("status")
        if status == wanted:
            return
        if status in ("failed", "cancelled", "completed"):
            reason = found.get("error-desc", "it does not say why")
            raise VmmError(f"QEMU's snapshot {status}: {reason}")
        await trio.sleep(POLL_S)


async def _go_on(qmp: QmpClient, *, ran: bool) -> None:
    await drop_snapshot(qmp)
    if ran and not (await qmp.execute("query-status"))["running"]:
        await qmp.execute("cont")


async def drop_snapshot(qmp: QmpClient) -> None:
    """See `Machine.drop_snapshot`."""
    await qmp.execute("migrate_cancel")
    while True:
        if (await qmp.execute("query-migrate")).get("status") != "cancelling":
            return
        await trio.sleep(POLL_S)
