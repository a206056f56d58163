"""A running QEMU machine written down with its memory apart: fast, and nothing of it on a disk.

The guest stands still while its devices are saved and the pages that it has written are copied.
QEMU saves devices alone by a command that is meant for Xen, in the format of its migration. Source:
migration/savevm.c, ``qemu_save_device_state`` and ``vmstate_configuration``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import trio

from banger.host.guest_memory import GuestMemory
from banger.host.ram_file import RamFile
from banger.kernel.errors import VmmError
from banger.model.process import ProcessIdentity
from banger.vmm.base import DiskSwitch
from banger.vmm.qemu_overlays import add_overlays, drop_writers, switch_to_overlays
from banger.vmm.qmp import QmpClient

OWN_BYTES_MAX = 128 << 20
"""Of the guest's own pages, copied at some 2 GB/s. What is more is better copied while it runs."""
TRIES = 5

_MAGIC = b"QEVM\0\0\0\x03"
_CONFIGURATION = (
    b"\x07\0\0\0\x07microvm"
    b"\x05\x1aconfiguration/capabilities\0\0\0\x01\0\0\0\x01\x0fx-ignore-shared"
)
"""What `load_state` expects at the begin: the machine, and the capability that both ends have."""


def is_little(identity: ProcessIdentity) -> bool:
    """Whether the process's guest memory can be copied while its guest stands still."""
    memory = GuestMemory.of(identity)
    if memory is None:
        return False
    with memory:
        return memory.own_bytes() <= OWN_BYTES_MAX


def opened(identity: ProcessIdentity) -> GuestMemory:
    """Raises `VmmError`."""
    memory = GuestMemory.of(identity)
    if memory is None:
        raise VmmError(f"the memory of QEMU, pid {identity.pid}, can't be read")
    return memory


async def fork(
    qmp: QmpClient,
    memory: GuestMemory,
    file: int,
    ram: RamFile,
    switches: Mapping[str, DiskSwitch],
) -> float:
    """See `Machine.fork`."""
    ran = (await qmp.execute("query-status"))["running"]
    nodes = await add_overlays(qmp, switches)
    try:
        stopped = trio.current_time()
        await qmp.execute("stop")
        await switch_to_overlays(qmp, nodes)
        devices = await _copy_at_rest(qmp, memory, ram)
        if ran:
            await qmp.execute("cont")
        paused_ms = (trio.current_time() - stopped) * 1000
        await drop_writers(qmp, nodes)
    except BaseException:
        with trio.CancelScope(shield=True):
            if ran and not (await qmp.execute("query-status"))["running"]:
                await qmp.execute("cont")
        raise
    ram.seal()
    with os.fdopen(file, "wb", closefd=False) as state:
        state.write(devices)
    return paused_ms


async def _copy_at_rest(qmp: QmpClient, memory: GuestMemory, ram: RamFile) -> bytes:
    """The devices' state, with the memory copied as it was then.

    QEMU puts what comes for the guest's ports into a stopped guest's memory too. Then the ports'
    state is another one before and after.
    """
    devices = await _save_devices(qmp)
    for _ in range(TRIES):
        await trio.to_thread.run_sync(memory.copy_own, ram)
        before, devices = devices, await _save_devices(qmp)
        if devices == before:
            return devices
    raise VmmError("QEMU's devices do not come to rest")


async def _save_devices(qmp: QmpClient) -> bytes:
    """As a migration's stream that has no memory."""
    fd = os.memfd_create("devices", os.MFD_CLOEXEC)
    try:
        # QEMU looks for one that was opened in the way in which it would open it itself.
        writer = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            number = await qmp.add_descriptor(writer)
        finally:
            os.close(writer)
        try:
            name = f"/dev/fdset/{number}"
            await qmp.execute("xen-save-devices-state", filename=name, live=False)
        finally:
            await qmp.execute("remove-fd", **{"fdset-id": number})
        stream = os.pread(fd, os.fstat(fd).st_size, 0)
    finally:
        os.close(fd)
    if not stream.startswith(_MAGIC):
        raise VmmError("QEMU's devices were saved in an unknown format")
    return _MAGIC + _CONFIGURATION + stream[len(_MAGIC) :]
