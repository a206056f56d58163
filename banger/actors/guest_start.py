"""The VMM of one creation or start, and the guest in it, until the VM has taken them over."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TypeVar

import trio

from banger.actors.vmm_watch import VmmWatch
from banger.guest import agent
from banger.guest.link import AgentLink
from banger.kernel.actor import sole_declared_error
from banger.kernel.errors import ConnectionLost, TimedOut, VmmError
from banger.model.guest import GuestConfig
from banger.vmm.base import Machine, MachinePlan, Vmm

T = TypeVar("T")

AGENT_DEADLINE_S = 120.0
"""An emulated guest on a busy host is slow; a healthy one answers after about three seconds."""

WARM_DEADLINE_S = 30.0
"""One that has been up before answers in a tenth of a second."""

WARM_PATIENCE_S = 10.0
"""After that its first request is said again."""

ENDING_S = 2.0
"""How long after its connections a VMM that ends may take to be gone."""


class GuestStart:
    """``machine`` and ``link`` are its outcome."""

    def __init__(
        self,
        driver: Vmm,
        runtime: Path,
        *,
        vmm: VmmWatch,
        attend: Callable[[Machine], Awaitable[None]],
    ) -> None:
        """``attend`` puts a launched machine under the watch of ``vmm``."""
        self.machine: Machine | None = None
        self.link: AgentLink | None = None
        self._driver = driver
        self._runtime = runtime
        self._vmm = vmm
        self._attend = attend

    def take_over(self, machine: Machine, link: AgentLink) -> None:
        """Go on with a machine that runs already, and is watched by nobody."""
        self.machine, self.link = machine, link

    async def launch(self, plan: MachinePlan) -> Machine:
        self.machine = await self._driver.launch(plan)
        return self.machine

    async def attend(self, *, untouched: bool) -> None:
        """Returns when the VMM answers. Raises `VmmError`. ``untouched`` as in `AgentLink`."""
        try:
            await self._attend(self._launched)
        except Exception as error:
            # The watch's nursery wraps what it raises.
            raise sole_declared_error(error) or error from None
        if self.link is None:
            self.link = AgentLink(
                self._launched.dial, self._driver.traits.agent_channels, untouched=untouched
            )

    async def resume(self, sizes: Mapping[str, int]) -> None:
        """Let a guest that begins in a saved state go on, with disks of these sizes in bytes."""
        for serial, size in sizes.items():
            await self._launched.resize_disk(serial, size)
        await self._launched.resume()

    async def pause(self) -> None:
        await self._launched.pause()

    async def answers(self, deadline_s: float) -> str:
        """The first request waits in the guest's port until the agent opens it: no polling."""
        link = self._linked
        try:
            with trio.fail_after(deadline_s):
                health = await self._unless_ended(lambda: agent.health(link))
        except trio.TooSlowError:
            raise TimedOut(
                f"the guest's agent did not answer within {deadline_s:.0f} s",
                hint="the image may not boot: see the console",
            ) from None
        return f"guest up for {health.uptime_ms} ms"

    async def check_configured(self) -> tuple[str, ...]:
        """What the guest has to say of its cold configuration. Raises `GuestError`."""
        link = self._linked
        notes = await self._unless_ended(lambda: agent.check_configured(link))
        await self._launched.booted()
        return notes

    async def configure(self, config: GuestConfig) -> tuple[str, ...]:
        """Deliver the configuration warm, and say what the guest has to say of it."""
        link = self._linked
        notes: tuple[str, ...] | None = None
        with trio.move_on_after(WARM_PATIENCE_S):
            notes = await self._unless_ended(lambda: agent.configure(link, config))
        if notes is None:
            # A request can be lost on a port that was just restored; to say it twice is legal.
            await link.reset()
            try:
                with trio.fail_after(WARM_DEADLINE_S):
                    notes = await self._unless_ended(lambda: agent.configure(link, config))
            except trio.TooSlowError:
                raise TimedOut(
                    f"the guest did not take its configuration within {WARM_DEADLINE_S:.0f} s"
                ) from None
        await self._launched.booted()
        return notes

    async def end(self) -> None:
        """Kill the VMM if there is one, remove its sockets; another one may be launched then."""
        machine, self.machine = self.machine, None
        if machine is not None:
            await machine.kill()
            # Before: its watcher could not see the end. One that was cancelled tells of none.
            await self._vmm.unwatched.wait()
            machine.close()
            self._vmm.machine = None
            self._vmm.expect()
        link, self.link = self.link, None
        if link is not None:
            await link.reset()
        await self._driver.forget(self._runtime)

    @property
    def _launched(self) -> Machine:
        assert self.machine is not None
        return self.machine

    @property
    def _linked(self) -> AgentLink:
        assert self.link is not None
        return self.link

    async def _unless_ended(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do the work, or raise as soon as the guest has ended."""
        results: list[T] = []
        failure: Exception | None = None
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                nonlocal failure
                failure = VmmError(await self._vmm.last_words())
                nursery.cancel_scope.cancel()

            nursery.start_soon(watch)
            try:
                results.append(await work())
            except ConnectionLost as error:
                failure = error
                # Because the guest has ended, most likely; its end is seen a little later.
                await trio.sleep(ENDING_S)
            except Exception as error:
                failure = error
            nursery.cancel_scope.cancel()
        if results:
            return results[0]
        assert failure is not None
        raise failure
