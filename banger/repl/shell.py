"""The prompt and its loop. Commands run in threads; what takes the terminal runs in this one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import termios
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from prompt_toolkit import PromptSession
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.enums import EditingMode
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.history import FileHistory

from banger.cli.invocation import HELP, Invocation
from banger.cli.main import SIGNAL_CODE
from banger.cli.plugins import Plugins
from banger.cli.tree import Group
from banger.commands.context import Context
from banger.commands.session import Session
from banger.commands.sink import ProcessSink
from banger.commands.table import MODULES, load
from banger.host.paths import make_private
from banger.kernel.errors import BangerError, NotFound, UsageError
from banger.model.settings import Settings
from banger.repl.colours import LineLexer, Reader
from banger.repl.completer import LineCompleter
from banger.repl.fleet import Fleet
from banger.repl.jobs import Job, Jobs, failure
from banger.repl.keys import bindings
from banger.repl.line import HostCommand, OwnCommand, Started, read
from banger.repl.printer import Printer, on_screen, page
from banger.repl.screen import STYLE, prompt, toolbar

_ENDING = (signal.SIGTERM, signal.SIGHUP)
QUICK_S = 0.15
"""A command that takes less has shown its result before the prompt comes back."""
LOOK_S = 0.05
HISTORY_FILE = "repl-history"
SANE = "\x1b[0m\x1b[?25h\x1b[?1l"
"""Colours, cursor and cursor keys as they should be, whatever a program left behind."""


class Shell:
    def __init__(self, session: Session, settings: Settings) -> None:
        self._session = session
        self._settings = settings
        self._chosen: str | None = None
        self._front: Job | None = None
        self._lock = threading.Lock()
        self._lines: deque[str] = deque()
        self._warned = False
        self._raising: dict[signal.Signals, Any] = {}
        """What the ending signals did before: raise `SystemExit`, wherever the process is."""

    def run(self) -> int:
        """Until the user leaves; the exit code."""
        return asyncio.run(self._run())

    @property
    def _default(self) -> str | None:
        """The VM of commands that name none, while there is such a VM."""
        if self._fleet.daemon_pid is not None and self._chosen not in self._fleet.vms:
            return None
        return self._chosen

    # --- the loop ---

    async def _run(self) -> int:
        self._loop = asyncio.get_running_loop()
        self._printer = Printer(self._loop)
        self._fleet = Fleet(self._session, self._redraw)
        self._plugins = Plugins(self._fleet.find_interface)
        self._reader = Reader(
            self._plugins, self._fleet, lambda: self._fleet.vms, lambda: self._default
        )
        self._jobs = Jobs(self._session, self._say, self._redraw, self._ended)
        self._idle, self._wake = asyncio.Event(), asyncio.Event()
        self._idle.set()
        # While the prompt is there it has the signal; this is for between two of them.
        signal.signal(signal.SIGINT, self._on_sigint)
        self._code, self._main = 0, asyncio.current_task()
        for number in _ENDING:
            self._raising[number] = signal.signal(number, self._on_end)
        self._prompt = self._make_prompt()
        self._fleet.start()
        threading.Thread(target=_load_all, daemon=True).start()
        printing = asyncio.create_task(self._printer.run())
        executing = asyncio.create_task(self._execute_lines())
        try:
            # Keys pressed between two prompts are for the next one, not for the terminal's echo.
            with self._prompt.input.raw_mode():
                while await self._ask():
                    pass
        except asyncio.CancelledError:
            if not self._code:
                raise
        finally:
            executing.cancel()
            await asyncio.to_thread(self._jobs.end_all)
            await self._printer.flush()
            printing.cancel()
            await asyncio.to_thread(self._fleet.stop)
        return self._code

    async def _ask(self) -> bool:
        """One line; False: the user leaves."""
        try:
            text = await self._prompt.prompt_async()
        except KeyboardInterrupt:
            self._warned = False
            return True
        except EOFError:
            return not self._may_leave()
        for line in text.splitlines():
            if line.strip() in ("exit", "quit"):
                if self._may_leave():
                    return False
            elif line.strip():
                self._warned = False
                self._idle.clear()
                self._lines.append(line)
        self._wake.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(QUICK_S):
                await self._idle.wait()
        return True

    def _may_leave(self) -> bool:
        """Ask first when something runs."""
        count = len(self._jobs.running) + len(self._lines)
        if not count or self._warned:
            return True
        self._warned = True
        self._printer.say(
            f"{count} command{'s run' if count != 1 else ' runs'} still; leaving cancels them, and "
            "they are undone. Once more to leave\n"
        )
        return False

    async def _execute_lines(self) -> None:
        """One after another: the next begins when the one in front has ended or was sent back."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._lines:
                line = self._lines.popleft()
                try:
                    await self._execute(line)
                except Exception as error:
                    self._printer.say(failure(error, json=False)[0])
            await self._printer.flush()
            self._idle.set()

    async def _execute(self, line: str) -> None:
        try:
            asked = read(line, self._plugins, self._fleet.vms, self._default)
        except Group as group:
            asked = Started(Invocation((), load(HELP), {"words": group.path}), background=False)
        match asked:
            case OwnCommand(name, arguments):
                await self._own(name, arguments)
            case HostCommand(text):
                await self._with_terminal(lambda: _run_on_host(text))
            case Started(invocation, background) if invocation.takes_terminal:
                if background:
                    raise UsageError("it needs the terminal, so it can't go to the background")
                await self._with_terminal(lambda: self._run_here(invocation))
                self._fleet.look_again()
            case Started(invocation, background):
                job = self._jobs.start(line, invocation, background=background)
                if background:
                    self._printer.say(f"[{job.number}] {line.strip()}\n")
                else:
                    await self._attend(job)

    async def _attend(self, job: Job) -> None:
        """The job is in front until it has ended, or is sent back."""
        self._front, self._released, job.background = job, asyncio.Event(), False
        if job.number not in self._jobs.running:
            self._released.set()
        while not (job.kept or job.kept is None or self._released.is_set()):
            # Until it says something: what follows at once may be a page with it.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._released.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(QUICK_S):
                await self._released.wait()
        ended = job.number not in self._jobs.running
        with self._lock:
            text, job.kept = "".join(job.kept or ()), None
            if text and not ended:
                self._printer.say(text)
        if text and ended:
            await self._printer.flush()
            async with self._printer.busy:
                await on_screen(lambda: page(text))
        self._redraw()
        await self._released.wait()
        self._front = None

    # --- commands of the shell's own ---

    async def _own(self, name: str, arguments: tuple[str, ...]) -> None:
        match name:
            case "use":
                self._use(*arguments)
            case "jobs":
                for job in self._jobs.running.values():
                    state = "cancelling" if job.cancelled else "running"
                    doing = f"  ({job.status})" if job.status else ""
                    self._printer.say(f"[{job.number}] {state}  {job.line.strip()}{doing}\n")
                if not self._jobs.running:
                    self._printer.say("nothing runs\n")
            case "fg":
                await self._fetch(*arguments)

    def _use(self, name: str | None = None) -> None:
        if name is not None and name not in self._fleet.vms:
            raise NotFound(f"there is no VM {name!r}", hint="'vm list' shows those there")
        self._chosen = name

    async def _fetch(self, number: str | None = None) -> None:
        running = self._jobs.running
        if not running:
            raise NotFound("nothing runs in the background")
        if number is not None and not (number.isdecimal() and int(number) in running):
            raise NotFound(f"there is no job {number!r}", hint="'jobs' shows those there")
        job = running[max(running) if number is None else int(number)]
        self._printer.say(f"{job.line.strip().removesuffix('&').strip()}\n")
        await self._attend(job)

    # --- keys ---

    def interrupt(self) -> bool:
        self._lines.clear()
        if self._front is None:
            return False
        self._front.cancel()
        self._front.status = "cancelling …"
        self._redraw()
        return True

    def _on_sigint(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self.interrupt)

    def _on_end(self, number: int, _: object) -> None:
        """`SystemExit` raised in the midst of drawing would leave others waiting for its end."""
        self._end(SIGNAL_CODE + number)

    def _end(self, code: int) -> None:
        assert self._main is not None
        self._code = code
        self._loop.call_soon_threadsafe(self._main.cancel)

    def send_back(self) -> None:
        job = self._front
        if job is not None:
            job.background = True
            self._printer.say(f"[{job.number}] {job.line.strip()}\n")
            self._released.set()

    # --- from threads of commands ---

    def _say(self, job: Job, text: str) -> None:
        with self._lock:
            if job.kept is not None:
                job.kept.append(text)
                return
            mark = f"[{job.number}] " if job.background else ""
            self._printer.say("".join(f"{mark}{line}\n" for line in text.splitlines()))

    def _ended(self, job: Job) -> None:
        self._loop.call_soon_threadsafe(self._take_end, job)

    def _take_end(self, job: Job) -> None:
        self._jobs.running.pop(job.number, None)
        if job is self._front:
            self._released.set()
        else:
            how = "done" if job.code == 0 else f"exit code {job.code}"
            self._printer.say(f"[{job.number}] {how}: {job.line.strip()}\n")
        if job.invocation.command.mutates:
            self._fleet.look_again()
        if job.invocation.command.path[0] == "image":
            self._fleet.look_at_images()
        self._redraw()

    def _redraw(self) -> None:
        self._prompt.app.invalidate()

    # --- the terminal ---

    async def _with_terminal(self, work: Callable[[], None]) -> None:
        """The prompt goes away, the terminal is as it was before the shell, and then again ours."""
        await self._printer.flush()
        async with self._printer.busy:
            with self._prompt.input.cooked_mode():
                await on_screen(lambda: self._lend(work))

    def _lend(self, work: Callable[[], None]) -> None:
        """What has the terminal is ended by the signals that end the shell."""
        for number, handler in self._raising.items():
            signal.signal(number, handler)
        try:
            with _kept_modes():
                work()
        except SystemExit as end:
            self._end(int(end.code or 0))
        finally:
            for number in self._raising:
                signal.signal(number, self._on_end)

    def _run_here(self, invocation: Invocation) -> None:
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            with Context(self._session, ProcessSink(), json=invocation.json) as context:
                code = invocation.run(context)
            if code:
                sys.stdout.write(f"exit code {code}\n")
        except KeyboardInterrupt:
            sys.stdout.write("banger: interrupted\n")
        except Exception as error:
            sys.stdout.write(failure(error, json=invocation.json)[0])
        finally:
            signal.signal(signal.SIGINT, before)

    def _make_prompt(self) -> PromptSession[str]:
        make_private(self._session.paths.state)
        history = self._session.paths.state / HISTORY_FILE
        history.touch(mode=0o600)
        vi = self._settings.text("repl.editing") == "vi"
        return PromptSession(
            message=self._message,
            lexer=LineLexer(self._reader),
            completer=LineCompleter(self._plugins, self._fleet),
            complete_while_typing=True,
            auto_suggest=AutoSuggestFromHistory(),
            history=FileHistory(str(history)),
            bottom_toolbar=self._toolbar,
            key_bindings=bindings(self),
            style=STYLE,
            editing_mode=EditingMode.VI if vi else EditingMode.EMACS,
            mouse_support=self._settings.flag("repl.mouse"),
            include_default_pygments_style=False,
            erase_when_done=False,
            reserve_space_for_menu=6,
        )

    def _message(self) -> StyleAndTextTuples:
        if self._prompt.app.is_done:
            return prompt(self._default, (), None)
        return prompt(self._default, list(self._jobs.running.values()), self._front)

    def _toolbar(self) -> StyleAndTextTuples:
        line = self._prompt.default_buffer.document.current_line
        mistake = self._reader.mistake(line)
        return toolbar(self._fleet, len(self._jobs.running), mistake)


@contextlib.contextmanager
def _kept_modes() -> Iterator[None]:
    """The terminal's modes afterwards as before, whoever has had it."""
    before = termios.tcgetattr(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
        sys.stdout.write(SANE)
        sys.stdout.flush()


def _run_on_host(text: str) -> None:
    shell = os.environ.get("SHELL", "/bin/sh")
    # Ctrl-C is the program's; a handler, unlike SIG_IGN, is not inherited.
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        code = subprocess.run([shell, "-c", text] if text else [shell], check=False).returncode
    finally:
        signal.signal(signal.SIGINT, before)
    if code:
        sys.stdout.write(f"exit code {code}\n")


def _load_all() -> None:
    """So that no key has to wait for a module."""
    for path in MODULES:
        with contextlib.suppress(BangerError):
            load(path)
