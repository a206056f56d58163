"""What a bench has measured, with the machine it was measured on."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterable, Mapping

import msgspec

from banger.commands.colour import Colour
from banger.commands.context import Context
from banger.model.requests.control import GetStatus

_MET, _MISSED = "met", "missed"


class Row(msgspec.Struct, frozen=True):
    name: str
    median: float
    least: float
    most: float
    unit: str
    target: float | None = None
    """What the median is meant to be at most; null where nothing was meant."""
    met: bool | None = None


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
    targets: Mapping[str, float] = {},
) -> None:
    """Show the medians; what has no unit of its own is in ms."""
    result = Report(
        runs=runs,
        load=list(os.getloadavg()),
        cpus=os.cpu_count() or 0,
        accelerator=context.call(GetStatus()).accelerator or "",
        rows=[
            _row(name, values, units.get(name, "ms"), targets.get(name))
            for name, values in measured
        ],
    )
    context.document(result)
    context.line(
        f"{runs} runs, {result.cpus} CPUs, {result.accelerator}, "
        f"load {' '.join(f'{load:.2f}' for load in result.load)}"
    )
    head = ["MEASURE", "MEDIAN", "LEAST", "MOST", "UNIT"]
    context.table(
        [*head, "TARGET", ""] if targets else head,
        [[*_cells(row), *(_verdict(row) if targets else [])] for row in result.rows],
        _colour,
    )


def _row(name: str, values: list[float], unit: str, target: float | None) -> Row:
    median = statistics.median(values)
    met = None if target is None else median <= target
    return Row(name, median, min(values), max(values), unit, target, met)


def _cells(row: Row) -> list[str]:
    return [row.name, f"{row.median:.1f}", f"{row.least:.1f}", f"{row.most:.1f}", row.unit]


def _verdict(row: Row) -> list[str]:
    if row.target is None:
        return ["", ""]
    return [f"{row.target:g}", _MET if row.met else _MISSED]


def _colour(head: str, cell: str) -> Colour:
    if head:
        return Colour.PLAIN
    return {_MET: Colour.GOOD, _MISSED: Colour.TROUBLE}.get(cell, Colour.PLAIN)
