"""``vm exec``: this process's stdin, stdout, stderr and signals, joined to a guest's command."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

import msgspec

from banger.client.connection import Connection
from banger.kernel import wire
from banger.kernel.message import Event
from banger.model.requests.exec import (
    AnyOutput,
    EndOfInput,
    ErrorOutput,
    Exec,
    ExecResult,
    Input,
    Output,
    Resize,
    SendSignal,
)

if TYPE_CHECKING:
    from banger.model.requests.runs import RunVm

READ_BYTES = 32 << 10
SPARE_BYTES = 4 << 10
"""Of the window, kept free for signals and resizes."""

_STDIN, _STDOUT, _STDERR = 0, 1, 2
SIGNALS_PASSED = 2
"""One more, and we leave whatever the guest does; its command is killed then."""

_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def run_exec(connection: Connection, request: Exec) -> ExecResult:
    """Run the command to its end. Raises the request's errors.

    Signals that reach this process are sent on; with a TTY the terminal is raw meanwhile,
    so Ctrl-C is a key of the guest's.
    """
    # select(2), unlike epoll, also takes regular files as stdin.
    with _signals() as wakeup, selectors.SelectSelector() as selector, ExitStack() as stack:
        session = _Session(connection, request, request.tty, wakeup, selector, stack)
        session.begin_command()
        return session.run()


def run_vm(
    connection: Connection,
    request: RunVm,
    *,
    on_event: Callable[[Event], None],
    on_ready: Callable[[], None],
) -> ExecResult:
    """Run the command in a VM of its own, as `run_exec` does.

    ``on_event`` hears of the creation, ``on_ready`` of its end. A signal before that undoes it:
    `KeyboardInterrupt`, raised when nothing is left.
    """
    from banger.model.events import VmStateChanged
    from banger.model.vm import VmState

    with _signals() as wakeup, selectors.SelectSelector() as selector, ExitStack() as stack:
        session = _Session(connection, request, request.command.tty, wakeup, selector, stack)

        def take(event: Event) -> None:
            on_event(event)
            if isinstance(event, VmStateChanged) and event.state is VmState.RUNNING:
                on_ready()
                session.begin_command()

        session.on_event = take
        return session.run()


def capture_exec(connection: Connection, request: Exec | RunVm) -> tuple[ExecResult, bytes, bytes]:
    """Run the command with an empty stdin; its result, stdout and stderr."""
    out, err = bytearray(), bytearray()
    result = watch_exec(connection, request, out=out.extend, err=err.extend)
    return result, bytes(out), bytes(err)


def watch_exec(
    connection: Connection,
    request: Exec | RunVm,
    *,
    out: Callable[[bytes], object],
    err: Callable[[bytes], object],
    on_event: Callable[[Event], None] = lambda event: None,
) -> ExecResult:
    """Run the command with an empty stdin; what it writes goes on as it comes."""

    def take(item: object) -> None:
        match item:
            case Output(data):
                out(data)
            case ErrorOutput(data):
                err(data)
            case Event():
                on_event(item)

    call_id = connection.begin(request)
    connection.feed(call_id, EndOfInput())
    return connection.finish(
        call_id,
        ExecResult,
        items=_items_of(request),
        on_item=take,
    )


def _items_of(request: Exec | RunVm) -> Any:
    """The type of what comes before the result. Events are many classes, and only of a creation."""
    if isinstance(request, Exec):
        return AnyOutput
    from banger.model.events import AnyEvent

    return AnyOutput | AnyEvent


class _Session:
    def __init__(
        self,
        connection: Connection,
        request: Exec | RunVm,
        tty: bool,
        wakeup: socket.socket,
        selector: selectors.BaseSelector,
        stack: ExitStack,
    ) -> None:
        """``stack`` is unwound when the session is over."""
        self.on_event: Callable[[Event], None] = lambda event: None
        self._connection = connection
        self._tty = tty
        self._stack = stack
        self._commanding = False
        self._cancelled = False
        self._wakeup = wakeup
        self._selector = selector
        self._window = wire.FEED_WINDOW_BYTES
        self._stdin_open = True
        self._signals_passed = 0
        self._reading = False
        selector.register(connection, selectors.EVENT_READ)
        selector.register(wakeup, selectors.EVENT_READ)
        self._items = _items_of(request)
        self._id = connection.begin(request)

    def begin_command(self) -> None:
        """From now on the terminal, stdin and signals are the command's."""
        self._stack.enter_context(_terminal(raw=self._tty))
        self._commanding = True

    def run(self) -> ExecResult:
        self._watch_stdin()
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._wakeup:
                    self._pass_signals()
                elif key.fileobj is self._connection:
                    self._connection.read()
                else:
                    self._pass_stdin()
            for message in self._connection.received():
                result = self._take(message)
                if result is not None:
                    return result
            self._watch_stdin()

    def _take(self, message: wire.ServerMessage) -> ExecResult | None:
        match message:
            case wire.Item(_, item):
                match msgspec.msgpack.decode(item, type=self._items):
                    case Output(data):
                        _write_all(_STDOUT, data)
                    case ErrorOutput(data):
                        _write_all(_STDERR, data)
                    case event:
                        self.on_event(event)
            case wire.Credit(_, count):
                self._window += count
            case wire.Done(_, result):
                return msgspec.msgpack.decode(result, type=ExecResult)
            case wire.Failed(_, error):
                if self._cancelled:
                    raise KeyboardInterrupt
                raise error.to_error()
        return None

    def _watch_stdin(self) -> None:
        """Read stdin only while the daemon has room for it."""
        wanted = self._commanding and self._stdin_open and self._window > READ_BYTES + SPARE_BYTES
        if wanted and not self._reading:
            self._selector.register(_STDIN, selectors.EVENT_READ)
        elif self._reading and not wanted:
            self._selector.unregister(_STDIN)
        self._reading = wanted

    def _pass_stdin(self) -> None:
        try:
            data = os.read(_STDIN, READ_BYTES)
        except OSError:
            data = b""  # a terminal that hung up
        if data:
            self._feed(Input(data))
        else:
            self._stdin_open = False
            self._feed(EndOfInput())

    def _pass_signals(self) -> None:
        for number in self._wakeup.recv(64):
            if not self._commanding:
                if number != signal.SIGWINCH:
                    self._cancel()
            elif number == signal.SIGWINCH:
                size = os.get_terminal_size(_STDOUT)
                if size.lines and size.columns:  # a terminal that tells its size
                    self._feed(Resize(size.lines, size.columns))
            else:
                self._signals_passed += 1
                if self._signals_passed > SIGNALS_PASSED:
                    raise KeyboardInterrupt
                self._feed(SendSignal(number))

    def _cancel(self) -> None:
        """Whoever does not want to wait until all is undone asks once more."""
        if self._cancelled:
            raise KeyboardInterrupt
        self._cancelled = True
        self._connection.send(wire.Cancel(self._id))

    def _feed(self, item: object) -> None:
        self._window -= self._connection.feed(self._id, item)


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


@contextmanager
def _signals() -> Iterator[socket.socket]:
    """Signals as bytes on a socket, for the selector."""

    def nothing(number: int, frame: FrameType | None) -> None:
        """The wake-up descriptor has the number; only the default action must not happen."""

    reader, writer = socket.socketpair()
    writer.setblocking(False)
    handled = [*_FORWARDED, signal.SIGWINCH] if os.isatty(_STDOUT) else list(_FORWARDED)
    before = {number: signal.signal(number, nothing) for number in handled}
    wakeup_before = signal.set_wakeup_fd(writer.fileno())
    try:
        yield reader
    finally:
        signal.set_wakeup_fd(wakeup_before)
        for number, handler in before.items():
            signal.signal(number, handler)
        reader.close()
        writer.close()


@contextmanager
def _terminal(*, raw: bool) -> Iterator[None]:
    """The terminal in raw mode, and back as it was."""
    if not raw or not os.isatty(_STDIN):
        yield
        return
    before = termios.tcgetattr(_STDIN)
    try:
        tty.setraw(_STDIN)
        yield
    finally:
        termios.tcsetattr(_STDIN, termios.TCSADRAIN, before)
