"""How long a guest's agent may be silent; while its VM is paused, the time stands still."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import trio


class Patience:
    """One a VM: all waiting for its agent is limited by it."""

    def __init__(self) -> None:
        self._limits: dict[trio.CancelScope, float] = {}
        self._paused = False

    @contextmanager
    def limit(self, seconds: float) -> Iterator[trio.CancelScope]:
        """Cancel the body after these seconds; the scope tells whether it was."""
        with trio.CancelScope() as scope:
            self._limits[scope] = seconds
            self._wind(scope, seconds)
            try:
                yield scope
            finally:
                del self._limits[scope]

    def pause(self) -> None:
        self._set(paused=True)

    def resume(self) -> None:
        """All that wait have their whole time again."""
        self._set(paused=False)

    def _set(self, *, paused: bool) -> None:
        self._paused = paused
        for scope, seconds in self._limits.items():
            self._wind(scope, seconds)

    def _wind(self, scope: trio.CancelScope, seconds: float) -> None:
        scope.deadline = math.inf if self._paused else trio.current_time() + seconds
