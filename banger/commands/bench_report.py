"""What a bench has measured, with the machine it was measured on."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterable, Mapping

import msgspec

from banger.commands.context import Context
from banger.model.requests.control import GetStatus


class Row(msgspec.Struct, frozen=True):
    name: str
    median: float
    least: float
    most: float
    unit: str


class Report(msgspec.Struct, frozen=True):
    runs: int
    load: list[float]
    cpus: int
    accelerator: str
    rows: list[Row]


def since(begun: float) -> float:
    """Milliseconds since that moment of ``time.perf_counter``."""
    return (time.perf_counter() - begun) * 1000


def report(
    context: Context,
    runs: int,
    measured: Iterable[tuple[str, list[float]]],
    units: Mapping[str, str],
) -> None:
    """Show the medians; what has no unit of its own is in ms."""
    result = Report(
        runs=runs,
        load=list(os.getloadavg()),
        cpus=os.cpu_count() or 0,
        accelerator=context.call(GetStatus()).accelerator or "",
        rows=[
            Row(name, statistics.median(values), min(values), max(values), units.get(name, "ms"))
            for name, values in measured
        ],
    )
    context.document(result)
    context.line(
        f"{runs} runs, {result.cpus} CPUs, {result.accelerator}, "
        f"load {' '.join(f'{load:.2f}' for load in result.load)}"
    )
    context.table(
        ("MEASURE", "MEDIAN", "LEAST", "MOST", "UNIT"),
        [
            (row.name, f"{row.median:.1f}", f"{row.least:.1f}", f"{row.most:.1f}", row.unit)
            for row in result.rows
        ],
    )
