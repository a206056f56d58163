"""Where conformance is tried: daemons in directories of their own, and a list of faults."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import trio

from banger.capabilities import guard
from banger.capabilities.capability import AnyCapability
from banger.kernel.errors import BangerError
from banger.testing.daemon import FakeDaemon
from banger.testing.life import InjectedFault, Life
from banger.testing.variants import variants

BLOCKING_S = 1.0
"""Of the daemon's only thread. Longer work goes into `trio.to_thread.run_sync`."""

VM = "conforming-vm"
"""Its name is in no file by chance."""

Arrange = Callable[[FakeDaemon], None]


class TurnedOff(Exception):
    """The capability is of no use any more; why is among the faults."""


class Trial:
    def __init__(
        self,
        capability: type[AnyCapability],
        directory: Path,
        *,
        options: Mapping[str, object] | None,
        settings: Mapping[str, object] | None,
        others: Sequence[type[AnyCapability]],
        arrange: Arrange | None,
    ) -> None:
        self.capability = capability
        self.options = options
        self.faults: list[str] = []
        self._directory = directory
        self._settings = settings
        self._others = others
        self._arrange = arrange
        self._daemons = 0

    def fault(self, text: str) -> None:
        if text not in self.faults:
            self.faults.append(text)

    def _raised(self, doing: str, text: str) -> None:
        """Told once, where it was met first."""
        if not any(text in known for known in self.faults):
            self.fault(f"{doing}: {text}")

    @asynccontextmanager
    async def daemon(self, doing: str) -> AsyncIterator[FakeDaemon]:
        """A daemon with services. What is raised inside, or would be logged, is a fault.

        Raises `TurnedOff` when the capability is not in use at the end.
        """
        self._daemons += 1
        daemon: FakeDaemon | None = None
        is_ready = False
        try:
            daemon = FakeDaemon(
                self.capability,
                self._directory / str(self._daemons),
                settings=self._settings,
                others=self._others,
            )
            if self._arrange is not None:
                self._arrange(daemon)
            async with daemon.serving():
                is_ready = True
                yield daemon
        except (BangerError, AssertionError) as error:
            self._raised(doing, str(error))
        except (Exception, SystemExit) as error:
            self._raised(doing, repr(error))
        else:
            # Else they are what led to the error.
            for complaint in daemon.complaints:
                self._raised(doing, complaint)
        if daemon is None or not is_ready or self.capability.name not in daemon.registry.active:
            raise TurnedOff

    async def make_vm(self, daemon: FakeDaemon, *, start: bool = True) -> Life:
        """Beside one that has the default options, where that can be."""
        if not daemon.lives:
            await self.make_another(daemon)
        return await daemon.create(VM, self.options, start=start)

    async def make_another(self, daemon: FakeDaemon) -> None:
        with suppress(BangerError):
            await daemon.create("another-vm")

    async def fails(self, operation: Awaitable[object], *, may_refuse: bool = False) -> None:
        """Await an operation into which a failure was injected."""
        try:
            await operation
        except InjectedFault:
            return
        except BangerError:
            if not may_refuse:
                raise
            return
        raise AssertionError("the injected failure did not reach the operation")

    def changes(self, vm: Life) -> Iterator[dict[str, Any]]:
        """Changes of options that the capability's types allow."""
        now = vm.options.get(self.capability.name, {})
        yield from variants(self.capability, now)

    def compare(self, what: str, before: Mapping[str, object], now: Mapping[str, object]) -> None:
        """A fault that begins with ``what`` unless both are alike."""
        parts = {
            "there is now": sorted(now.keys() - before.keys()),
            "missing is": sorted(before.keys() - now.keys()),
            "different is": sorted(k for k in before.keys() & now.keys() if before[k] != now[k]),
        }
        shown = [f"{said} {', '.join(keys)}" for said, keys in parts.items() if keys]
        if shown:
            self.fault(f"{what}: {'; '.join(shown)}")


@contextmanager
def alarm() -> Iterator[None]:
    """Interrupt code of a plugin that keeps the thread for `BLOCKING_S`.

    As in the daemon, but the clock is wound at each step of a task, so it does not depend on
    the clock of trio, and rests while all wait.
    """
    before, guard.STALL_S = guard.STALL_S, BLOCKING_S
    try:
        with guard.alarm_clock(BLOCKING_S) as wind:
            instrument = _Winder(wind)
            trio.lowlevel.add_instrument(instrument)
            try:
                yield
            finally:
                trio.lowlevel.remove_instrument(instrument)
    finally:
        guard.STALL_S = before


class _Winder(trio.abc.Instrument):
    def __init__(self, wind: Callable[[], None]) -> None:
        self._wind = wind

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._wind()

    def before_io_wait(self, timeout: float) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
