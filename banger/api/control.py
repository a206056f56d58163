"""The daemon itself: status, stop."""

from __future__ import annotations

import os
from collections import Counter

import trio

import banger
from banger.actors import fleet, tap_pool, vm_requests
from banger.api.backend import Backend
from banger.kernel.errors import BangerError
from banger.kernel.rpc import CallContext
from banger.model.requests import control as requests
from banger.model.vm import VmState


async def status(
    backend: Backend, request: requests.GetStatus, context: CallContext
) -> requests.DaemonStatus:
    views = await backend.fleet.ask(fleet.ListVms())
    try:
        network = await backend.taps.ask(tap_pool.GetNetwork())
        subnet = str(network.subnet)
    except BangerError:
        subnet = None
    return requests.DaemonStatus(
        pid=os.getpid(),
        version=banger.__version__,
        uptime_s=round(trio.current_time() - backend.started, 3),
        vms=dict(Counter(str(view.state) for view in views)),
        quarantined=await backend.fleet.ask(fleet.GetQuarantined()),
        accelerator=backend.accelerator(),
        bridge=backend.settings.text("network.bridge"),
        subnet=subnet,
        socket=backend.socket,
    )


async def stop(backend: Backend, request: requests.StopDaemon, context: CallContext) -> None:
    if request.vms:
        async with trio.open_nursery() as nursery:
            for view in await backend.fleet.ask(fleet.ListVms()):
                if view.state in (VmState.RUNNING, VmState.PAUSED):
                    ref = await backend.vm(view.name)
                    nursery.start_soon(ref.ask, vm_requests.Stop())
    backend.stop.set()
