"""Work in named stages, each with a duration and an undo.

One mechanism serves progress on the terminal, the event log, the benchmark's breakdown
and the points where tests inject failures. When a stage fails or the work is cancelled,
that stage and all before it are undone in reverse; an undo must therefore cope with a
stage that did only a part of its work.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import msgspec
import trio

from banger.kernel.errors import BangerError
from banger.kernel.message import Fault

log = logging.getLogger(__name__)

C = TypeVar("C")

UNDO_DEADLINE_S = 15.0


class Stage(msgspec.Struct, Generic[C], frozen=True):
    """``do(context)`` returns a note for the log ("" when there is nothing to say)."""

    name: str
    do: Callable[[C], Awaitable[str]]
    undo: Callable[[C], Awaitable[None]] | None = None


class StageTiming(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    duration_ms: float
    note: str = ""


async def run_stages(
    stages: Sequence[Stage[C]],
    context: C,
    *,
    started: Callable[[str], None],
    finished: Callable[[StageTiming], None],
    fault: Fault | None = None,
) -> list[StageTiming]:
    """Run the stages in order; on an exception or cancellation undo them and re-raise.

    ``started`` and ``finished`` report progress and must not block.
    """
    timings: list[StageTiming] = []
    begun: list[Stage[C]] = []
    try:
        for stage in stages:
            begun.append(stage)
            started(stage.name)
            start = trio.current_time()
            note = await stage.do(context)
            if fault is not None:
                await _strike(fault, stage.name)
            timing = StageTiming(stage.name, (trio.current_time() - start) * 1000, note)
            timings.append(timing)
            finished(timing)
    except BaseException:
        await undo_stages(begun, context)
        raise
    return timings


async def undo_stages(stages: Sequence[Stage[C]], context: C) -> None:
    """Undo in reverse order, shielded from cancellation, each with a deadline.

    A failing undo is logged and does not keep the others from running.
    """
    for stage in reversed(stages):
        if stage.undo is None:
            continue
        try:
            with trio.fail_after(UNDO_DEADLINE_S) as deadline:
                deadline.shield = True
                await stage.undo(context)
        except Exception:
            log.exception("undo of stage %s failed", stage.name)


async def _strike(fault: Fault, stage: str) -> None:
    if stage == fault.stage:
        if fault.hang:
            await trio.sleep_forever()
        raise BangerError(f"injected fault at stage {stage}")
