"""Events on the daemon's bus, as subscribers and clients see them."""

from __future__ import annotations

from banger.kernel.message import Event, Lost
from banger.model.vm import VmState


class StageStarted(Event, frozen=True, tag="stage-started"):
    """``operation`` is ``create``, ``start`` …"""

    vm: str
    operation: str
    stage: str


class StageFinished(Event, frozen=True, tag="stage-finished"):
    vm: str
    operation: str
    stage: str
    duration_ms: float
    note: str


class OperationEnded(Event, frozen=True, tag="operation-ended"):
    """``error`` is "" when all went well."""

    vm: str
    operation: str
    duration_ms: float
    error: str


class VmStateChanged(Event, frozen=True, tag="vm-state"):
    vm: str
    state: VmState
    reason: str


class VmGone(Event, frozen=True, tag="vm-gone"):
    vm: str


class BuildProgress(Event, frozen=True, tag="build-progress"):
    """A step of an image build, or a line of its log when ``step`` is ""."""

    image: str
    step: str
    line: str


AnyEvent = (
    Lost | StageStarted | StageFinished | OperationEnded | VmStateChanged | VmGone | BuildProgress
)
