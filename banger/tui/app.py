"""The application: the terminal, what draws on it, and what its keys start."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

from prompt_toolkit.application import Application, in_terminal
from prompt_toolkit.data_structures import Size
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.layout import FormattedTextControl, Layout, Window

from banger.cli.main import SIGNAL_CODE
from banger.host.places import Places
from banger.tui.feed import Feed
from banger.tui.keys import Act, Action, Login, Quit, StartDaemon, press
from banger.tui.model import Mode, Model
from banger.tui.screen import screen
from banger.tui.style import style

REDRAW_S = 0.03
"""At least between two drawings: a flood of events costs no more."""
ESCAPE_S = 0.05
"""How long to wait whether an Escape is the beginning of another key."""
REFRESH_S = 1.0
"""Ages grow and notices end without an event."""
FRAME_LINES = 10
"""Lines of the screen that are no rows, about."""
ENDING = (signal.SIGTERM, signal.SIGHUP)


class Tui:
    def __init__(self, places: Places) -> None:
        self._model = Model()
        self._app: Application[int] = Application(
            layout=Layout(Window(FormattedTextControl(self._text, show_cursor=False))),
            key_bindings=self._keys(),
            style=style(),
            full_screen=True,
            min_redraw_interval=REDRAW_S,
            refresh_interval=REFRESH_S,
        )
        self._app.ttimeoutlen = ESCAPE_S
        self._app.timeoutlen = ESCAPE_S
        self._feed = Feed(places, self._model, draw=self._app.invalidate, visible=self._visible)
        self._asked_to_quit = False
        self._login: asyncio.Task[None] | None = None

    async def run(self) -> int:
        """The exit code. The terminal is as it was, whatever happened."""
        loop = asyncio.get_running_loop()
        feeding = asyncio.create_task(self._feed.run())
        feeding.add_done_callback(self._feed_ended)
        with _exiting_on_signals(loop, self._app):
            loop.set_exception_handler(self._failed)
            try:
                # Its own handler would print and wait for Enter; ours ends it with the error.
                return await self._app.run_async(handle_sigint=False, set_exception_handler=False)
            finally:
                feeding.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await feeding

    # --- errors ---

    def _feed_ended(self, feeding: asyncio.Task[None]) -> None:
        if not feeding.cancelled() and (error := feeding.exception()) is not None:
            self._end(error)

    def _failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self._end(error if error is not None else RuntimeError(context["message"]))

    def _end(self, error: BaseException) -> None:
        if self._app.is_running and self._app.future is not None and not self._app.future.done():
            self._app.exit(exception=error)

    # --- drawing ---

    @property
    def _size(self) -> Size:
        return self._app.output.get_size()

    def _text(self) -> StyleAndTextTuples:
        size = self._size
        lines = screen(self._model, size.columns, size.rows, now=time.time(), tick=time.monotonic())
        text: StyleAndTextTuples = []
        for line in lines:
            text += [*line, ("", "\n")]
        return text[:-1]

    def _visible(self) -> list[str]:
        if self._model.mode is Mode.DETAIL and self._model.detail is not None:
            return [self._model.detail.vm]
        return self._model.visible(max(1, self._size.rows - 3))

    # --- keys ---

    def _keys(self) -> KeyBindings:
        bindings = KeyBindings()
        names = {
            **{Keys.Up: "up", Keys.Down: "down", Keys.Left: "left", Keys.Right: "right"},
            **{Keys.PageUp: "pageup", Keys.PageDown: "pagedown", Keys.Home: "home"},
            **{Keys.End: "end", Keys.Enter: "enter", Keys.Escape: "escape", Keys.F1: "f1"},
            **{Keys.Backspace: "backspace", Keys.ControlC: "c-c", Keys.ControlU: "c-u"},
            **{Keys.ControlB: "c-b", Keys.ControlF: "c-f"},
        }
        for key, name in names.items():
            bindings.add(key)(lambda event, name=name: self._press(name))

        @bindings.add(Keys.Any)
        def _(event: KeyPressEvent) -> None:
            self._press(event.data)

        @bindings.add(Keys.BracketedPaste)
        def _(event: KeyPressEvent) -> None:
            if self._model.typing:  # elsewhere it would be a row of commands
                for character in event.data:
                    self._press(character)

        return bindings

    def _press(self, key: str) -> None:
        action = press(self._model, key, page=max(1, self._size.rows - FRAME_LINES))
        if action is not None:
            self._do(action)
        self._feed.look()
        self._app.invalidate()

    def _do(self, action: Action) -> None:
        match action:
            case Quit() if self._feed.busy and not self._asked_to_quit:
                self._asked_to_quit = True
                self._model.tell("something is under way, and is undone by leaving; again: leave")
            case Quit():
                self._app.exit(result=0)
            case StartDaemon():
                self._feed.start_daemon()
            case Login(name):
                self._login = asyncio.create_task(self._log_in(name))
            case Act():
                self._feed.act(action)

    async def _log_in(self, name: str) -> None:
        """Give the terminal to ssh, and take it back when that has ended."""
        async with in_terminal():
            self._feed.paused = True
            try:
                ssh = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "banger.cli.main", "vm", "ssh", name
                )
                code = await ssh.wait()
            finally:
                self._feed.paused = False
        self._model.tell(f"ssh {name} ended with exit code {code}")
        self._app.invalidate()


@contextlib.contextmanager
def _exiting_on_signals(loop: asyncio.AbstractEventLoop, app: Application[int]) -> Iterator[None]:
    def end(number: int) -> None:
        if app.is_running and app.future is not None and not app.future.done():
            app.exit(result=SIGNAL_CODE + number)

    before = {number: signal.getsignal(number) for number in ENDING}
    for number in ENDING:
        loop.add_signal_handler(number, end, number)
    try:
        yield
    finally:
        for number in ENDING:
            loop.remove_signal_handler(number)
            signal.signal(number, before[number])
