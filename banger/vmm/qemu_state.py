"""Saving a QEMU machine and beginning in what was saved: QEMU's migration, to and from a file.

With ``x-ignore-shared`` memory that is a shared mapping of a file is left out of the stream.
Source: QEMU's docs/devel/migration.rst.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import trio

from banger.kernel.errors import BangerError, VmmError
from banger.vmm.qmp import QmpClient

POLL_S = 0.002
BANDWIDTH = 1 << 40
"""Bytes a second. The default of 128 MiB is for networks."""

_NAME = "state"


async def save_state(qmp: QmpClient, file: int) -> None:
    """Write the state of the paused machine. Raises `VmmError`, `ConnectionLost`."""
    await _prepare(qmp)
    await qmp.execute("migrate-set-parameters", **{"max-bandwidth": BANDWIDTH})
    await qmp.pass_descriptor(_NAME, file)
    await qmp.execute("migrate", uri=f"fd:{_NAME}")
    try:
        await _migrated(qmp)
    except trio.Cancelled:
        with trio.CancelScope(shield=True):
            await qmp.execute("migrate_cancel")
        raise


async def load_state(qmp: QmpClient, state: Path) -> None:
    """Begin in a saved state, for a QEMU started with ``-incoming defer``.

    Reads the control socket meanwhile. Raises OSError, `VmmError`, `ConnectionLost`.
    """
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_read, qmp)
        try:
            await _load(qmp, state)
        except (OSError, BangerError) as error:
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def _load(qmp: QmpClient, state: Path) -> None:
    await _prepare(qmp)
    file = os.open(state, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        await qmp.pass_descriptor(_NAME, file)
    finally:
        os.close(file)
    await qmp.execute("migrate-incoming", uri=f"fd:{_NAME}")
    await _migrated(qmp)


async def _prepare(qmp: QmpClient) -> None:
    capability = {"capability": "x-ignore-shared", "state": True}
    await qmp.execute("migrate-set-capabilities", capabilities=[capability])


async def _read(qmp: QmpClient) -> None:
    # The end of QEMU is seen by whoever waits for a reply.
    with contextlib.suppress(BangerError):
        while True:
            await qmp.next_event()


async def _migrated(qmp: QmpClient) -> None:
    while True:
        found = await qmp.execute("query-migrate")
        match found.get("status"):
            case "completed":
                return
            case "failed" | "cancelled" as status:
                reason = found.get("error-desc", "it does not say why")
                raise VmmError(f"QEMU's migration {status}: {reason}")
        await trio.sleep(POLL_S)
