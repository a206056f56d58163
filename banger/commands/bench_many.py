"""Many VMs in one run of a bench, one after another or at once."""

from __future__ import annotations

import functools
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

from banger.client.connection import Connection
from banger.client.exec import capture_exec
from banger.commands.bench_host import cpu_s, memory_mb, timed
from banger.commands.bench_report import since
from banger.commands.context import Context
from banger.kernel.errors import BangerError
from banger.model.requests.exec import Exec
from banger.model.requests.vms import CreateVm, DeleteVm

SETTLE_S = 20.0
AT_ONCE = "{} VMs at once: all have run a command"
ONE_BY_ONE = "{} VMs one after another: all have run a command"
SLOWEST = "exec in the settled guests, the slowest"
CPU, MEMORY = "bangerd idle cpu", "bangerd memory (RSS)"


def many(
    context: Context, order: CreateVm, count: int, *, at_once: bool, idle: bool
) -> dict[str, float]:
    """Milliseconds: of all until each has run a command, and the median of one. With ``idle``
    also what they and the daemon do after a while of quiet. They are deleted then."""
    made: list[str] = []

    def make(_: int) -> float:
        begun = time.perf_counter()
        with Connection(context.session.places.socket) as daemon:
            view = daemon.call(order)
            made.append(view.name)
            exec_true(daemon, view.name)
        return since(begun)

    begun = time.perf_counter()
    try:
        with ThreadPoolExecutor(count if at_once else 1) as pool:
            each = list(pool.map(make, range(count)))
        found = {
            (AT_ONCE if at_once else ONE_BY_ONE).format(count): since(begun),
            "one of them, to first exec": statistics.median(each),
        }
        return found | quiet(context) | slowest_exec(context, made) if idle else found
    finally:
        for name in made:
            context.call(DeleteVm(name))


def quiet(context: Context) -> dict[str, float]:
    """Leave the VMs alone for a while, and see what the daemon used meanwhile."""
    daemon = context.daemon.hello.pid
    before = cpu_s(daemon)
    context.sleep(SETTLE_S)
    return {
        CPU: (cpu_s(daemon) - before) / SETTLE_S * 100,
        MEMORY: memory_mb(daemon, "Rss"),
    }


def slowest_exec(context: Context, names: list[str]) -> dict[str, float]:
    each = [timed(functools.partial(exec_true, context.daemon, name)) for name in names]
    return {SLOWEST: max(each)}


def exec_true(daemon: Connection, name: str) -> None:
    result, _, _ = capture_exec(daemon, Exec(name, ["true"]))
    if result.code != 0:
        raise BangerError(f"'true' in the guest ended with {result.code}")
