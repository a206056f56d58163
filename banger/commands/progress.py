"""Stages as they happen: one live line for those who look on, nothing elsewhere."""

from __future__ import annotations

import time

from banger.commands.context import Context
from banger.kernel.message import Event
from banger.model.clock import show_duration
from banger.model.events import StageFinished, StageStarted


class StageProgress:
    """Feed it the events of an operation; then ``summary`` tells the durations."""

    def __init__(self, context: Context, title: str) -> None:
        self._context = context
        self._title = title
        self._begun = time.monotonic()
        self.stages: list[StageFinished] = []

    def take(self, event: Event) -> None:
        match event:
            case StageStarted(stage=stage) if self._context.sink.live:
                self._redraw(stage)
            case StageFinished():
                self.stages.append(event)

    def clear(self) -> None:
        self._context.status("")

    def summary(self) -> str:
        """The whole time, and each stage that took a noticeable part of it."""
        total_s = time.monotonic() - self._begun
        stages = ", ".join(
            f"{stage.stage} {show_duration(stage.duration_ms)}" for stage in self.stages
        )
        return f"{total_s:.1f} s ({stages})" if stages else f"{total_s:.1f} s"

    def _redraw(self, stage: str) -> None:
        done = " ".join(f"{s.stage} ✓" for s in self.stages)
        text = f"{self._title}: {done} {stage} …".replace("  ", " ")
        import shutil  # it loads compression, and most output ends up on no terminal

        if len(text) >= shutil.get_terminal_size().columns:
            text = f"{self._title}: {stage} …"
        self._context.status(text)
