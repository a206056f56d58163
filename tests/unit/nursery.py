"""A nursery for tests: a hang becomes a failure."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


@asynccontextmanager
async def nursery_within(seconds: float = 1000) -> AsyncIterator[trio.Nursery]:
    """Raise `trio.TooSlowError` unless all is done in time (by the clock of the test)."""
    with trio.fail_after(seconds):
        async with trio.open_nursery() as nursery:
            yield nursery
