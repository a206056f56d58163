"""Cancelling what runs in other threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from banger.commands.context import Context
from banger.kernel.errors import Interrupted


class Cancellation:
    """Reaches the commands that run under it and under its children, and all that come later."""

    def __init__(self, parent: Cancellation | None = None) -> None:
        self._lock: threading.RLock = parent._lock if parent else threading.RLock()
        self._parent = parent
        self._children: list[Cancellation] = []
        self._running: set[Context] = set()
        self._event = threading.Event()
        if parent is not None:
            with self._lock:
                parent._children.append(self)
                if parent._event.is_set():
                    self._event.set()

    def cancel(self) -> None:
        with self._lock:
            self._event.set()
            for context in self._running:
                context.cancel()
            for child in self._children:
                child.cancel()

    def retire(self) -> None:
        """Nothing runs under it any more."""
        if self._parent is not None:
            with self._lock:
                self._parent._children.remove(self)

    def sleep(self, seconds: float) -> None:
        """Raises `Interrupted` once cancelled."""
        if self._event.wait(seconds):
            raise Interrupted

    @contextmanager
    def reaching(self, context: Context) -> Iterator[None]:
        """The command of this context runs meanwhile. Raises `Interrupted` when it may not."""
        with self._lock:
            if self._event.is_set():
                raise Interrupted
            self._running.add(context)
        try:
            yield
        finally:
            with self._lock:
                self._running.discard(context)
