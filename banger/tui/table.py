"""The table of VMs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from banger.commands.labels import show_labels
from banger.model.clock import show_age
from banger.model.sizes import MIB, short_size
from banger.model.usage import Usage
from banger.model.vm import VmState, VmView
from banger.tui.model import Model, Sort, created
from banger.tui.text import Line, fill, padded

SIGNS = {
    VmState.RUNNING: "●",
    VmState.PAUSED: "◍",
    VmState.SUSPENDED: "◌",
    VmState.CRASHED: "✗",
    VmState.FAILED: "✗",
    VmState.STOPPED: "○",
}
UNDER_WAY = "◐"
NAME_WIDTH_MIN = 12


@dataclass(frozen=True)
class Cell:
    vm: VmView
    usage: Usage | None
    doing: str
    now: float


@dataclass(frozen=True)
class Column:
    title: str
    width: int
    show: Callable[[Cell], str]
    right: bool = True
    sort: Sort | None = None


def state_style(state: VmState) -> str:
    return f"class:state.{state}"


def sign(state: VmState) -> str:
    return SIGNS.get(state, UNDER_WAY)


def _state(cell: Cell) -> str:
    text = cell.doing or str(cell.vm.state)
    return f"{UNDER_WAY if cell.doing else sign(cell.vm.state)} {text}"


def _cpu(cell: Cell) -> str:
    if cell.usage is None or cell.usage.cpu_percent is None:
        return "-"
    return f"{cell.usage.cpu_percent:.0f}%"


def _memory(cell: Cell) -> str:
    given = short_size(cell.vm.memory_mib * MIB)
    vmm = cell.usage.vmm if cell.usage else None
    return f"{short_size(vmm.pss_bytes)}/{given}" if vmm else f"-/{given}"


def _sent(cell: Cell) -> str:
    return _speed(cell.usage.sent_bytes_s if cell.usage else None)


def _received(cell: Cell) -> str:
    return _speed(cell.usage.received_bytes_s if cell.usage else None)


def _speed(value: float | None) -> str:
    return "-" if value is None else short_size(value)


def _guest_load(cell: Cell) -> str:
    guest = cell.usage.guest if cell.usage else None
    return f"{guest.load[0]:.2f}" if guest else "-"


def _guest_memory(cell: Cell) -> str:
    guest = cell.usage.guest if cell.usage else None
    if guest is None:
        return "-"
    used = max(0, guest.memory.total_bytes - guest.memory.available_bytes)
    return f"{short_size(used)}/{short_size(guest.memory.total_bytes)}"


COLUMNS = (
    Column("STATE", 13, _state, right=False, sort=Sort.STATE),
    Column("AGE", 4, lambda c: show_age(c.now - created(c.vm)), sort=Sort.AGE),
    Column("ADDRESS", 13, lambda c: c.vm.address or "-", right=False, sort=Sort.ADDRESS),
    Column("CPU", 5, _cpu, sort=Sort.CPU),
    Column("MEMORY", 9, _memory, sort=Sort.MEMORY),
    Column("DISK", 5, lambda c: short_size(c.vm.disk_allocated_bytes), sort=Sort.DISK),
    Column("OUT/s", 5, _sent, sort=Sort.NETWORK),
    Column("IN/s", 5, _received),
)
FURTHER = (
    Column("LOAD", 5, _guest_load),
    Column("GUEST MEM", 9, _guest_memory),
    Column("IMAGE", 12, lambda c: c.vm.image, right=False),
    Column("LABELS", 24, lambda c: show_labels(c.vm.labels) or "-", right=False),
)
"""Where there is room."""


def table(model: Model, width: int, height: int, now: float) -> list[Line]:
    """Head and rows, ``height`` lines in all."""
    names = model.visible(height - 1)
    longest = max((len(name) for name in names), default=0)
    columns, name_width = _layout(width, longest)
    lines = [_head(model, columns, name_width, width)]
    for name in names:
        cell = Cell(model.vms[name], model.usages.get(name), model.doing.get(name, ""), now)
        lines.append(_row(cell, columns, name_width, width, chosen=name == model.selected))
    lines += [fill([], width) for _ in range(height - len(lines))]
    return lines


def _layout(width: int, longest: int) -> tuple[list[Column], int]:
    """The columns there is room for, and how wide the names may be."""
    columns = list(COLUMNS)

    def left() -> int:
        return width - 1 - sum(column.width + 1 for column in columns)

    while columns and left() < NAME_WIDTH_MIN:
        columns.pop()
    for further in FURTHER:
        if left() - further.width - 1 >= max(NAME_WIDTH_MIN, longest):
            columns.append(further)
    return columns, max(1, min(left(), max(NAME_WIDTH_MIN, longest) + 2))


def _head(model: Model, columns: list[Column], name_width: int, width: int) -> Line:
    line: Line = [("class:head", " "), *_title("NAME", name_width, model, Sort.NAME, right=False)]
    for column in columns:
        line.append(("class:head", " "))
        line += _title(column.title, column.width, model, column.sort, right=column.right)
    return fill(line, width, "class:head")


def _title(title: str, width: int, model: Model, sort: Sort | None, *, right: bool) -> Line:
    if sort is not model.sort:
        return [("class:head", padded(title, width, right=right))]
    arrow = "▾" if model.reverse else "▴"
    return [("class:head.sorted", padded(title + arrow, width, right=right))]


def _row(cell: Cell, columns: list[Column], name_width: int, width: int, *, chosen: bool) -> Line:
    chosen_style = "class:chosen" if chosen else ""
    dim = "class:dim" if cell.vm.pid is None else ""
    line: Line = [
        (f"{dim} {chosen_style}", " "),
        (f"class:name {dim} {chosen_style}", padded(cell.vm.name, name_width)),
    ]
    for column in columns:
        text = padded(column.show(cell), column.width, right=column.right)
        own = state_style(cell.vm.state) if column.title == "STATE" else dim
        line += [(chosen_style, " "), (f"{own} {chosen_style}", text)]
    return fill(line, width, chosen_style)
