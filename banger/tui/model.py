"""What the screen knows, and what events, keys and replies make of it. Free of any I/O."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

import msgspec

from banger.kernel.message import Lost
from banger.model.event_text import Weight, describe
from banger.model.events import (
    OperationEnded,
    Recorded,
    StageFinished,
    StageStarted,
    VmGone,
    VmStateChanged,
)
from banger.model.stats import VmStats
from banger.model.usage import Usage, usage
from banger.model.vm import Verb, VmState, VmView
from banger.tui.console import ConsoleTail

NEWS_KEPT = 500
STAGES_KEPT = 200
HISTORY_KEPT = 60
"""Looks at a VM's CPU that its curve is drawn from."""
NOTICE_S = 6.0


class Sort(Enum):
    NAME = "name"
    STATE = "state"
    AGE = "age"
    ADDRESS = "address"
    CPU = "cpu"
    MEMORY = "memory"
    DISK = "disk"
    NETWORK = "network"


LARGEST_FIRST = {Sort.CPU, Sort.MEMORY, Sort.DISK, Sort.NETWORK}


class Mode(Enum):
    TABLE = "table"
    DETAIL = "detail"
    HELP = "help"


@dataclass(frozen=True)
class Question:
    """To be answered with y before anything is done."""

    verb: Verb
    vm: str


@dataclass(frozen=True)
class Notice:
    text: str
    weight: Weight
    until: float


@dataclass
class Detail:
    """The VM that is looked at closely."""

    vm: str
    console: ConsoleTail = field(default_factory=ConsoleTail)
    stages: deque[Recorded] = field(default_factory=lambda: deque(maxlen=STAGES_KEPT))


@dataclass(frozen=True)
class Refresh:
    """Whose views are out of date; ``everything``: events were missed."""

    names: frozenset[str] = frozenset()
    everything: bool = False


class Model:
    def __init__(self) -> None:
        self.vms: dict[str, VmView] = {}
        self.usages: dict[str, Usage] = {}
        self.history: dict[str, deque[float]] = {}
        self.doing: dict[str, str] = {}
        """The stage that a VM is in."""
        self.news: deque[Recorded] = deque(maxlen=NEWS_KEPT)
        self.trouble = "connecting to bangerd …"
        """Why nothing is shown as it is; "" while the daemon answers."""
        self.mode = Mode.TABLE
        self.with_news = True
        self.sort = Sort.NAME
        self.reverse = False
        self.filter = ""
        self.typing = False
        """Keys go into the filter."""
        self.selected = ""
        self.top = 0
        self.question: Question | None = None
        self.notice: Notice | None = None
        self.detail: Detail | None = None
        self._rows: list[str] | None = None

    # --- what the daemon tells ---

    def connected(self, views: Iterable[VmView]) -> None:
        self.trouble = ""
        self.vms = {view.name: view for view in views}
        self.usages = {name: found for name, found in self.usages.items() if name in self.vms}
        self.doing = {name: stage for name, stage in self.doing.items() if name in self.vms}
        self._changed()

    def lost(self, reason: str) -> None:
        self.trouble = reason
        self.question = None
        self.doing = {}

    def put(self, view: VmView) -> None:
        self.vms[view.name] = view
        if view.pid is None:
            self._forget_usage(view.name)
        self._changed()

    def drop(self, name: str) -> None:
        self.vms.pop(name, None)
        self.doing.pop(name, None)
        self._forget_usage(name)
        self._changed()

    def _forget_usage(self, name: str) -> None:
        self.usages.pop(name, None)
        self.history.pop(name, None)

    def take(self, recorded: Recorded) -> Refresh:
        """An event: what it tells by itself is shown at once, the rest has to be asked for."""
        self.remember(recorded)
        event = recorded.event
        name = getattr(event, "vm", "")
        match event:
            case Lost():
                return Refresh(everything=True)
            case VmGone():
                self.drop(name)
                return Refresh()
            case VmStateChanged(_, state, reason) if name in self.vms:
                view = msgspec.structs.replace(self.vms[name], state=state, reason=reason)
                self.put(view)
                return Refresh(frozenset({name}))
            case StageStarted(_, _, stage):
                self.doing[name] = stage
                return Refresh(frozenset({name}) - self.vms.keys())
            case StageFinished():
                return Refresh()
            case OperationEnded():
                self.doing.pop(name, None)
                return Refresh(frozenset({name}))
        return Refresh(frozenset({name}) - self.vms.keys() - {""})

    def remember(self, recorded: Recorded) -> None:
        """An event for the eye."""
        self.news.append(recorded)
        if self.detail is not None and getattr(recorded.event, "vm", "") == self.detail.vm:
            self.detail.stages.append(recorded)

    def put_stats(self, found: Iterable[VmStats]) -> None:
        for stats in found:
            if stats.name not in self.vms or stats.vmm is None:
                continue
            now = usage(self.usages.get(stats.name), stats)
            self.usages[stats.name] = now
            if now.cpu_percent is not None:
                curve = self.history.setdefault(stats.name, deque(maxlen=HISTORY_KEPT))
                curve.append(now.cpu_percent)
        if self.sort in LARGEST_FIRST:
            self._changed()

    def tell(self, text: str, weight: Weight = Weight.NEWS) -> None:
        """Say something for a few seconds."""
        self.notice = Notice(text, weight, time.monotonic() + NOTICE_S)

    # --- rows ---

    def rows(self) -> list[str]:
        """The names of the VMs that are shown, in their order."""
        if self._rows is None:
            names = [name for name in self.vms if self._fits(self.vms[name])]
            names.sort()
            downwards = (self.sort in LARGEST_FIRST) != self.reverse
            if self.sort is not Sort.NAME or self.reverse:
                names.sort(key=self._key, reverse=downwards)
            self._rows = names
            if self.selected not in self.vms and names:
                self.selected = names[min(self.top, len(names) - 1)]
        return self._rows

    def _changed(self) -> None:
        if self._rows is not None and self.selected not in self.vms:
            # The one that follows takes the place of one that has gone.
            old = self._rows
            at = old.index(self.selected) if self.selected in old else 0
            following = [name for name in (*old[at:], *reversed(old[:at])) if name in self.vms]
            self.selected = following[0] if following else ""
        self._rows = None

    def _fits(self, view: VmView) -> bool:
        if not self.filter:
            return True
        labels = " ".join(f"{key}={value}" for key, value in view.labels.items())
        text = f"{view.name} {view.state} {view.image} {view.address} {labels}".lower()
        return all(word in text for word in self.filter.lower().split())

    def _key(self, name: str) -> tuple[object, ...]:
        view, found = self.vms[name], self.usages.get(name)
        match self.sort:
            case Sort.NAME:
                return (name,)
            case Sort.STATE:
                return (list(VmState).index(view.state),)
            case Sort.AGE:
                return (-created(view),)
            case Sort.ADDRESS:
                return tuple(int(part) for part in view.address.split(".") if part)
            case Sort.CPU:
                return ((found and found.cpu_percent) or 0,)
            case Sort.MEMORY:
                return (found.vmm.pss_bytes if found and found.vmm else 0,)
            case Sort.DISK:
                return (view.disk_allocated_bytes,)
            case Sort.NETWORK:
                return (traffic(found),)

    def visible(self, height: int) -> list[str]:
        """The rows on a screen of that many, scrolled so that the selected one is among them."""
        rows = self.rows()
        if self.selected in rows:
            at = rows.index(self.selected)
            self.top = max(at - height + 1, min(self.top, at))
        self.top = max(0, min(self.top, len(rows) - height))
        return rows[self.top : self.top + height]

    def move(self, by: int) -> None:
        rows = self.rows()
        if rows:
            at = rows.index(self.selected) if self.selected in rows else -by
            self.select(rows[max(0, min(at + by, len(rows) - 1))])

    def select(self, name: str) -> None:
        self.selected = name
        if self.detail is not None and self.detail.vm != name:
            self.detail = Detail(name)
            self._recall()

    @property
    def current(self) -> VmView | None:
        """The VM that keys are for."""
        rows = self.rows()
        return self.vms[self.selected] if self.selected in rows else None

    def set_filter(self, text: str) -> None:
        self.filter = text
        self._rows = None
        rows = self.rows()
        if rows and self.selected not in rows:
            self.select(rows[0])

    def sort_by(self, sort: Sort, *, reverse: bool = False) -> None:
        self.sort, self.reverse, self._rows = sort, reverse, None

    # --- the detail view ---

    def look_at(self, name: str) -> None:
        self.mode = Mode.DETAIL
        self.detail = Detail(name)
        self._recall()

    def leave(self) -> None:
        self.mode = Mode.TABLE
        self.detail = None

    def _recall(self) -> None:
        """What the news know of this VM."""
        assert self.detail is not None
        name = self.detail.vm
        self.detail.stages.extend(r for r in self.news if getattr(r.event, "vm", "") == name)

    def attention(self) -> int:
        """How many of the events wanted attention."""
        return sum(describe(recorded.event).weight is Weight.TROUBLE for recorded in self.news)


def created(view: VmView) -> float:
    return datetime.fromisoformat(view.created_at).timestamp()


def traffic(found: Usage | None) -> float:
    """Bytes a second, both ways."""
    if found is None:
        return 0
    return (found.sent_bytes_s or 0) + (found.received_bytes_s or 0)
