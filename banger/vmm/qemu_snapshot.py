"""A running QEMU machine written down whole, with its disks switched to overlays at that point.

QEMU's live migration, to a file: it copies memory while the guest runs, then what was written
meanwhile; with ``pause-before-switchover`` it waits for us when the guest has been stopped and
before it lets go of the disks. Source: QEMU's docs/devel/migration.rst and
docs/interop/live-block-operations.rst.
"""

from __future__ import annotations

from collections.abc import Mapping

import trio

from banger.kernel.errors import VmmError
from banger.vmm.base import DiskSwitch
from banger.vmm.qemu_overlays import add_overlays, drop_writers, switch_to_overlays
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
    nodes = await add_overlays(qmp, switches)
    try:
        await qmp.pass_descriptor(_NAME, file)
        await qmp.execute("migrate", uri=f"fd:{_NAME}")
        await _reached(qmp, _WAITING)
        stopped = trio.current_time()
        await switch_to_overlays(qmp, nodes)
        await qmp.execute("migrate-continue", state=_WAITING)
        await _reached(qmp, "completed")
        if ran:
            await qmp.execute("cont")
        paused_ms = (trio.current_time() - stopped) * 1000
        await drop_writers(qmp, nodes)
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
