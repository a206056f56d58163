"""Ctrl-C and the signals that are to end us, made into cancellations.

An exception in the middle of anything could leave what is being undone half undone; so these
signals cancel what runs, and are obeyed when all has been put in order.
"""

from __future__ import annotations

import _thread
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from banger.commands.cancellation import Cancellation

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interruptions:
    """While it is entered, in the main thread; elsewhere signals do not arrive."""

    def __init__(self) -> None:
        self._previous: dict[int, Callable[[int, FrameType | None], Any]] = {}
        self._target: Cancellation | None = None
        self._first: int | None = None

    def __enter__(self) -> Interruptions:
        if _in_main_thread():
            for number in NUMBERS:
                previous = signal.getsignal(number)
                if callable(previous):  # neither ignored nor deadly at once
                    self._previous[number] = previous
                    signal.signal(number, self._take)
        return self

    def __exit__(self, *_: object) -> None:
        for number, previous in self._previous.items():
            signal.signal(number, previous)

    @contextmanager
    def cancelling(self, target: Cancellation | None) -> Iterator[None]:
        """What the next signal cancels; None: it is only obeyed in the end."""
        if not _in_main_thread():
            yield
            return
        before, self._target = self._target, target
        try:
            yield
        finally:
            self._target = before

    def obey(self) -> None:
        """Do what the first signal would have done at once."""
        if self._first is not None:
            self._previous[self._first](self._first, None)

    def _take(self, number: int, frame: FrameType | None) -> None:
        self._first = self._first or number
        if self._target is not None:
            # Not here: what this handler has interrupted may hold one of the locks it takes. Nor
            # by threading.Thread, whose start takes locks of its own.
            _thread.start_new_thread(self._target.cancel, ())


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
