"""Text from commands' threads onto the screen, above the prompt."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable

from prompt_toolkit.application import get_app_or_none, run_in_terminal

PAGER = ("less", "-R", "-F", "-X")


class Printer:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._texts: deque[str] = deque()
        self._wanted = asyncio.Event()
        self.busy = asyncio.Lock()
        """Held while something else has the screen."""

    def say(self, text: str) -> None:
        """From any thread. Shown in the order of the calls."""
        with self._lock:
            self._texts.append(text)
        self._loop.call_soon_threadsafe(self._wanted.set)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            await self.flush()

    async def flush(self) -> None:
        async with self.busy:
            text = self._take()
            if text:
                await on_screen(lambda: _write(text))

    def _take(self) -> str:
        with self._lock:
            text = "".join(self._texts)
            self._texts.clear()
        return text


async def on_screen(work: Callable[[], object]) -> None:
    """Do it with the prompt taken away meanwhile, where there is one."""
    app = get_app_or_none()
    if app is not None and app.is_running:
        await run_in_terminal(work)
    else:
        work()


def page(text: str) -> None:
    """Through the pager when it is longer than the screen."""
    if text.count("\n") < shutil.get_terminal_size().lines - 1 or shutil.which(PAGER[0]) is None:
        _write(text)
        return
    subprocess.run(PAGER, input=text.encode(errors="replace"), check=False)


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
