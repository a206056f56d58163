"""Runs code of plugins so that whatever it does stays its own trouble.

An exception, `sys.exit`, taking too long: all become `Misbehaved`, with the reason. Code
that waits (``await``) too long is cancelled. Code that blocks or spins would stop the
whole daemon; so while plugins run an alarm clock does, and its signal raises `_Stalled`
right where the plugin's code hangs. Only where nothing of a plugin is on the stack it does
not: banger's own loop is never interrupted.
"""

from __future__ import annotations

import logging
import math
import signal
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

import trio

from banger.kernel.actor import sole_declared_error

log = logging.getLogger(__name__)

T = TypeVar("T")

STALL_S = 10.0
"""How long code may keep the daemon's only thread."""


class Misbehaved(Exception):
    """A plugin did what none may; the text is the reason, for people."""


class _Stalled(BaseException):
    """Not an Exception: a plugin's own ``except Exception`` must not stop it."""


def call(work: Callable[[], T]) -> T:
    """Run synchronous code of a plugin. Raises `BangerError` or `Misbehaved`.

    It is interrupted when it keeps the thread for `STALL_S`, inside of `alarm_clock`.
    """
    try:
        return _marked(work)
    except BaseException as error:
        raise _verdict(error) from error


async def call_async(work: Callable[[], Awaitable[T]], *, deadline_s: float = math.inf) -> T:
    """Run asynchronous code of a plugin. Raises `BangerError` or `Misbehaved`. Cancellable."""
    try:
        with trio.fail_after(deadline_s):
            return await _marked_async(work)
    except trio.TooSlowError:
        raise Misbehaved(f"took longer than {deadline_s:g} s") from None
    except BaseException as error:
        verdict = _verdict(error)
        if verdict is error:
            raise
        raise verdict from error


def _marked(work: Callable[[], T]) -> T:
    return work()


async def _marked_async(work: Callable[[], Awaitable[T]]) -> T:
    return await work()


def _verdict(error: BaseException) -> BaseException:
    """A declared error and a cancellation as they are; all else is misbehaviour."""
    declared = sole_declared_error(error)
    if declared is not None:
        return declared
    if isinstance(error, BaseExceptionGroup):
        _, rest = error.split(trio.Cancelled)
        if rest is None:
            return error
        while isinstance(rest, BaseExceptionGroup):
            rest = rest.exceptions[0]
        error = rest
    if isinstance(error, trio.Cancelled):
        return error
    if isinstance(error, SystemExit):
        return Misbehaved(f"called sys.exit({error.code!r})")
    if isinstance(error, _Stalled):
        return Misbehaved(f"blocked the daemon for {STALL_S:g} s, {error}")
    place = traceback.extract_tb(error.__traceback__)[-1:]
    where = f" at {place[0].filename}:{place[0].lineno}" if place else ""
    return Misbehaved(f"raised {error!r}{where}")


@contextmanager
def alarm_clock(after_s: float = STALL_S) -> Iterator[Callable[[], None]]:
    """Watches over the main thread, which must call what this yields more often than that."""
    before = signal.signal(signal.SIGALRM, _on_alarm)

    def wind() -> None:
        # Repeated, for code that catches what is raised and hangs again.
        signal.setitimer(signal.ITIMER_REAL, after_s, 1.0)

    wind()
    try:
        yield wind
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


async def keep_wound(wind: Callable[[], None], after_s: float = STALL_S) -> None:
    """Wind the clock as long as trio's loop runs. Runs until cancelled."""
    while True:
        wind()
        await trio.sleep(after_s / 3)


def _on_alarm(number: int, frame: FrameType | None) -> None:
    where = traceback.extract_stack(frame)[-1] if frame else None
    place = f"{where.filename}:{where.lineno}" if where else "an unknown place"
    while frame is not None:
        if frame.f_code in (_marked.__code__, _marked_async.__code__):
            raise _Stalled(f"at {place}")
        frame = frame.f_back
    log.warning("the daemon is held up at %s", place)
