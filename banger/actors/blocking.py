"""Blocking calls off the loop: one limiter for the machine, so trio's default stays free."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import trio

T = TypeVar("T")

THREADS = 8

_limiter: trio.lowlevel.RunVar[trio.CapacityLimiter] = trio.lowlevel.RunVar("banger-blocking")


async def run_blocking(function: Callable[..., T], *args: object) -> T:
    """Run it in a thread. Not cancellable: the result is never lost half-done."""
    try:
        limiter = _limiter.get()
    except LookupError:
        limiter = trio.CapacityLimiter(THREADS)
        _limiter.set(limiter)
    return await trio.to_thread.run_sync(function, *args, limiter=limiter)
