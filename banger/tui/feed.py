"""What moves the model: the daemon's events, and statistics of what is on the screen."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from banger.host.places import Places
from banger.kernel.errors import BangerError, ConnectionLost, NotFound
from banger.kernel.message import Request
from banger.model.event_text import Weight
from banger.model.events import Recorded
from banger.model.requests.events import ReadEvents
from banger.model.requests.exec import AnyOutput
from banger.model.requests.guests import ReadConsole
from banger.model.requests.stats import ReadStats
from banger.model.requests.vms import DeleteVm, ListVms, PauseVm, ResumeVm, ShowVm, StartVm, StopVm
from banger.model.vm import Verb
from banger.tui.keys import Act
from banger.tui.link import Link
from banger.tui.model import Detail, Model

RECONNECT_S = 0.5
STATS_S = 2.0
"""Between two requests for statistics."""
AT_ONCE = 16
"""With more views to ask for, all are asked for at once."""
ALL = ""
"""In place of a name: every view is out of date."""
RECENT_S = 3600.0
"""How far back the events go that are shown at first."""

REQUESTS: dict[Verb, Callable[[str], Request[Any]]] = {
    Verb.START: StartVm,
    Verb.STOP: StopVm,
    Verb.DELETE: DeleteVm,
    Verb.PAUSE: PauseVm,
    Verb.RESUME: ResumeVm,
}


class Feed:
    """``draw`` is called after every change; ``visible`` names the VMs on the screen."""

    def __init__(
        self,
        places: Places,
        model: Model,
        *,
        draw: Callable[[], None],
        visible: Callable[[], list[str]],
    ) -> None:
        self.paused = False
        """While something else has the terminal."""
        self._places = places
        self._model = model
        self._draw = draw
        self._visible = visible
        self._link: Link | None = None
        self._start = True
        self._wanted = asyncio.Event()
        self._looked = asyncio.Event()
        self._turned = asyncio.Event()
        self._measured: list[str] = []
        self._outdated: set[str] = set()
        self._renewing = asyncio.Event()
        self._acting: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Connect, and again whenever the daemon has gone. Ends by cancellation."""
        while True:
            try:
                link = await Link.open(self._places, start=self._start)
            except (BangerError, OSError) as error:
                self._lost(str(error))
                link = None
            else:
                if link is None:
                    self._lost("bangerd does not run; waiting for it")
            self._start = False
            if link is not None:
                await self._serve(link)
            with suppress(TimeoutError):
                async with asyncio.timeout(RECONNECT_S):
                    await self._wanted.wait()
            self._wanted.clear()

    def start_daemon(self) -> None:
        self._start = True
        self._wanted.set()

    def look(self) -> None:
        """Something else may be looked at: its statistics and console are wanted now."""
        self._turned.set()
        if self._running(self._visible()) != self._measured:
            self._looked.set()

    @property
    def busy(self) -> bool:
        """Whether something is being done that ends when this program does."""
        return bool(self._acting)

    def act(self, action: Act) -> None:
        """Do it beside; what fails is told."""
        task = asyncio.create_task(self._act(action))
        self._acting.add(task)
        task.add_done_callback(self._acting.discard)

    def _lost(self, reason: str) -> None:
        self._model.lost(reason)
        self._draw()

    async def _serve(self, link: Link) -> None:
        self._link = link
        reason = "bangerd has gone"
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._follow(link))
                tasks.create_task(self._renew(link))
                tasks.create_task(self._measure(link))
                tasks.create_task(self._watch_console(link))
        except* ConnectionLost:
            pass
        except* BangerError as group:
            # An actor that is being stopped, say: what follows is the daemon's end.
            reason = str(group.exceptions[0])
        finally:
            self._link = None
            await link.close()
        self._lost(f"{reason}; waiting for it")

    # --- events ---

    async def _follow(self, link: Link) -> None:
        await self._recall(link)
        news = self._model.news
        after = news[-1].seq if news else None
        # Events first, so no change falls between them and the list.
        with link.stream(ReadEvents(after=after, follow=True), Recorded) as events:
            await self._list(link)
            self._outdated = set()
            async for recorded in events:
                self._take(recorded)

    def _take(self, recorded: Recorded) -> None:
        needed = self._model.take(recorded)
        self._draw()
        self._outdated |= {ALL} if needed.everything else needed.names
        if self._outdated:
            self._renewing.set()

    async def _recall(self, link: Link) -> None:
        """What happened before: for the eye only, it is in the list of VMs already."""
        news = self._model.news
        since = None if news else time.time() - RECENT_S
        request = ReadEvents(after=news[-1].seq if news else None, since=since)
        with link.stream(request, Recorded) as events:
            async for recorded in events:
                self._model.remember(recorded)

    async def _renew(self, link: Link) -> None:
        """Ask for the views that are out of date, beside the events that come meanwhile."""
        while True:
            await self._renewing.wait()
            self._renewing.clear()
            names, self._outdated = self._outdated, set()
            if ALL in names or len(names) > AT_ONCE:
                await self._list(link)
            else:
                await asyncio.gather(*(self._show(link, name) for name in names))
            self._draw()

    async def _list(self, link: Link) -> None:
        views = await link.call(ListVms())
        self._model.connected(views)
        self._draw()

    async def _show(self, link: Link, name: str) -> None:
        try:
            self._model.put(await link.call(ShowVm(name)))
        except NotFound:
            self._model.drop(name)
        except ConnectionLost:
            raise
        except BangerError:
            pass  # it is just ending; an event will tell

    # --- what is on the screen ---

    async def _measure(self, link: Link) -> None:
        while True:
            names = [] if self.paused else self._running(self._visible())
            if names:
                self._measured = names
                try:
                    found = await link.call(ReadStats(names))
                    self._model.put_stats(found)
                except ConnectionLost:
                    raise
                except BangerError as error:
                    self._model.tell(str(error), Weight.TROUBLE)
                self._draw()
            self._looked.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(STATS_S):
                    await self._looked.wait()

    def _running(self, names: Iterable[str]) -> list[str]:
        vms = self._model.vms
        return [name for name in names if name in vms and vms[name].pid is not None]

    async def _watch_console(self, link: Link) -> None:
        """Follow the console of the VM that is looked at closely."""
        while True:
            detail = self._model.detail
            reading = None
            if detail is not None:
                reading = asyncio.create_task(self._read_console(link, detail))
            try:
                while self._model.detail is detail:
                    await self._turned.wait()
                    self._turned.clear()
            finally:
                if reading is not None:
                    reading.cancel()

    async def _read_console(self, link: Link, detail: Detail) -> None:
        request = ReadConsole(detail.vm, follow=True)
        # It is gone, or the daemon is: others tell.
        with suppress(BangerError), link.stream(request, AnyOutput) as pieces:
            async for piece in pieces:
                detail.console.feed(piece.data)
                self._draw()

    # --- what is done with VMs ---

    async def _act(self, action: Act) -> None:
        link = self._link
        try:
            if link is None:
                raise ConnectionLost(self._model.trouble)
            await link.call(REQUESTS[action.verb](action.vm))
        except BangerError as error:
            self._model.tell(str(error), Weight.TROUBLE)
        else:
            self._model.tell(f"{action.verb} {action.vm}: done")
        self._draw()
