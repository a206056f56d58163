"""One VM: what it is, what it uses, its stages and its console."""

from __future__ import annotations

from banger.commands.labels import show_labels
from banger.model.clock import show_age, show_moment
from banger.model.event_text import Weight, describe
from banger.model.events import Recorded
from banger.model.sizes import MIB, short_size, show_size
from banger.model.usage import Usage
from banger.model.vm import VmView
from banger.tui.model import Model, created
from banger.tui.table import sign, state_style
from banger.tui.text import Line, bar, curve, fill, padded, rule

LABEL_WIDTH = 9
BAR_WIDTH = 12
FACTS = 8
"""Lines above the logs."""
STAGES_MIN, STAGES_PART = 3, 3
"""A third of what is left is for the stages, the rest for the console."""

WEIGHT_STYLES = {
    Weight.DETAIL: "class:dim",
    Weight.NEWS: "",
    Weight.TROUBLE: "class:trouble",
}


def detail(model: Model, width: int, height: int, now: float) -> list[Line]:
    assert model.detail is not None
    name = model.detail.vm
    view = model.vms.get(name)
    lines = [rule(name, width, "Esc back")]
    if view is None:
        lines.append(fill([("class:trouble", f"  {name} is gone")], width))
    else:
        lines += _facts(model, view, width, now)
    left = max(0, height - len(lines))
    stages = max(STAGES_MIN, left // STAGES_PART)
    lines.append(rule("stages", width))
    shown = list(model.detail.stages)[-(stages - 1) :]
    lines += [event_line(recorded, width, with_subject=False) for recorded in shown]
    lines += [fill([], width)] * (stages - 1 - len(shown))
    lines.append(rule("console", width))
    console = model.detail.console.last(height - len(lines))
    lines += [fill([("class:console", f" {text}")], width) for text in console]
    lines += [fill([], width)] * (height - len(lines))
    return lines[:height]


def event_line(recorded: Recorded, width: int, *, with_subject: bool = True) -> Line:
    said = describe(recorded.event)
    line: Line = [("class:time", f" {show_moment(recorded.at)[6:]}  ")]
    if with_subject:
        line.append(("class:name", padded(said.subject, 12) + "  "))
    return fill([*line, (WEIGHT_STYLES[said.weight], said.text)], width)


def _facts(model: Model, view: VmView, width: int, now: float) -> list[Line]:
    left = _identity(model, view, now)
    right = _use(model, view, width - width // 2)
    half = width // 2
    return [fill([*fill(left[n], half), *right[n]], width) for n in range(FACTS)]


def _identity(model: Model, view: VmView, now: float) -> list[Line]:
    doing = model.doing.get(view.name)
    state = f"{sign(view.state)} {view.state}" + (f", {doing} …" if doing else "")
    return [
        _pair("state", state, state_style(view.state)),
        _pair("address", view.address or "-"),
        _pair("image", view.image),
        _pair("shape", f"{view.vcpus} vCPU, {show_size(view.memory_mib * MIB)}"),
        _pair("driver", f"{view.driver} ({view.accelerator or '-'}), pid {view.pid or '-'}"),
        _pair("age", show_age(now - created(view))),
        _pair("labels", show_labels(view.labels) or "-"),
        _pair("reason", view.reason, "class:trouble") if view.reason else [],
    ]


def _use(model: Model, view: VmView, width: int) -> list[Line]:
    found = model.usages.get(view.name)
    disk = _share("disk", view.disk_allocated_bytes, view.disk_bytes)
    if found is None or found.vmm is None:
        return [disk, *[[] for _ in range(FACTS - 1)]]
    cpu = "-" if found.cpu_percent is None else f"{found.cpu_percent:.0f}%"
    history = list(model.history.get(view.name, ()))
    drawn = curve(history, 100.0 * view.vcpus, max(0, min(width - LABEL_WIDTH - 8, 24)))
    return [
        [*_pair("cpu", padded(cpu, 6)), ("class:curve", drawn)],
        _share("memory", found.vmm.pss_bytes, view.memory_mib * MIB),
        disk,
        _pair("network", _network(found)),
        *_guest(found),
    ]


def _network(found: Usage) -> str:
    if found.network is None:
        return "-"
    sent, received = (
        short_size(speed or 0) for speed in (found.sent_bytes_s, found.received_bytes_s)
    )
    total = f"{short_size(found.network.sent_bytes)}, {short_size(found.network.received_bytes)}"
    return f"↑ {sent}/s ↓ {received}/s ({total})"


def _guest(found: Usage) -> list[Line]:
    """What the guest says of itself, in four lines."""
    guest = found.guest
    if guest is None:
        return [_pair("guest", found.guest_problem or "-", "class:dim"), [], [], []]
    used = max(0, guest.memory.total_bytes - guest.memory.available_bytes)
    age = show_age(guest.uptime_ms / 1000)
    lines = [
        _pair("guest", f"load {guest.load[0]:.2f}, {guest.processes} procs, up {age}"),
        _share("  memory", used, guest.memory.total_bytes),
    ]
    lines += [
        _share(f"  {disk.path}", disk.used_bytes, disk.size_bytes) for disk in guest.disks[:2]
    ]
    return [*lines, [], []][:4]


def _pair(label: str, value: str, style: str = "") -> Line:
    return [("class:label", f" {padded(label, LABEL_WIDTH)}"), (style, value)]


def _share(label: str, part: int, whole: int) -> Line:
    share = part / whole if whole else 0.0
    said = f" {short_size(part)} of {short_size(whole)}"
    return [("class:label", f" {padded(label, LABEL_WIDTH)}"), *bar(share, BAR_WIDTH), ("", said)]
