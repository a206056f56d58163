"""Checks that block, in threads that may be left behind when they hang."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import trio

from banger.capabilities.check import Check
from banger.model.finding import Finding
from banger.model.vm import Verb

T = TypeVar("T")

THREADS = 16

_limiter: trio.lowlevel.RunVar[trio.CapacityLimiter] = trio.lowlevel.RunVar("banger-doctor")


async def in_thread(work: Callable[[], T]) -> T:
    """Run it in a thread. Cancelled, the thread is left to end by itself.

    So only for what reads, or does not mind being done twice: a check of a file system
    that hangs must not hang the doctor.
    """
    try:
        limiter = _limiter.get()
    except LookupError:
        limiter = trio.CapacityLimiter(THREADS)
        _limiter.set(limiter)
    return await trio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=limiter)


def looking_check(
    name: str,
    look: Callable[[Check], Sequence[Finding]],
    *,
    before: frozenset[Verb] = frozenset(),
    fix: Callable[[], str] | None = None,
) -> Check:
    """A check whose ``look`` and ``fix`` block."""

    async def run() -> Sequence[Finding]:
        return await in_thread(lambda: look(check))

    async def repair() -> str:
        assert fix is not None
        return await in_thread(fix)

    check = Check(name, run, before, repair if fix else None)
    return check
