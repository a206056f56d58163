"""Many VMs in one run of a bench, one after another or at once."""

from __future__ import annotations

import statistics
import time
from concurrent.futures import ThreadPoolExecutor

from banger.client.connection import Connection
from banger.client.exec import capture_exec
from banger.commands.bench_report import since
from banger.commands.context import Context
from banger.kernel.errors import BangerError
from banger.model.requests.exec import Exec
from banger.model.requests.vms import CreateVm, DeleteVm


def many(context: Context, count: int, *, at_once: bool, cold: bool) -> dict[str, float]:
    """Milliseconds: of all until each has run a command, and the median of one. They are
    deleted then."""
    made: list[str] = []

    def make(_: int) -> float:
        begun = time.perf_counter()
        with Connection(context.session.places.socket) as daemon:
            view = daemon.call(CreateVm(cold=cold))
            made.append(view.name)
            exec_true(daemon, view.name)
        return since(begun)

    begun = time.perf_counter()
    try:
        with ThreadPoolExecutor(count if at_once else 1) as pool:
            each = list(pool.map(make, range(count)))
        how = "at once" if at_once else "one after another"
        return {
            f"{count} VMs {how}: all have run a command": since(begun),
            "one of them, to first exec": statistics.median(each),
        }
    finally:
        for name in made:
            context.call(DeleteVm(name))


def exec_true(daemon: Connection, name: str) -> None:
    result, _, _ = capture_exec(daemon, Exec(name, ["true"]))
    if result.code != 0:
        raise BangerError(f"'true' in the guest ended with {result.code}")
