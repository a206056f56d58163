"""``vm exec``: this process's stdin, stdout, stderr and signals, joined to a guest's command."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import msgspec

from banger.client.connection import Connection
from banger.kernel import wire
from banger.model.requests import (
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
    with _signals() as wakeup, _terminal(raw=request.tty), selectors.SelectSelector() as selector:
        return _Session(connection, request, wakeup, selector).run()


def capture_exec(connection: Connection, request: Exec) -> tuple[ExecResult, bytes, bytes]:
    """Run the command with an empty stdin; its result, stdout and stderr."""
    out, err = bytearray(), bytearray()
    result = watch_exec(connection, request, out=out.extend, err=err.extend)
    return result, bytes(out), bytes(err)


def watch_exec(
    connection: Connection,
    request: Exec,
    *,
    out: Callable[[bytes], None],
    err: Callable[[bytes], None],
) -> ExecResult:
    """Run the command with an empty stdin; what it writes goes on as it comes."""
    call_id = connection.begin(request)
    connection.feed(call_id, EndOfInput())
    return connection.finish(
        call_id,
        ExecResult,
        items=AnyOutput,
        on_item=lambda item: (out if isinstance(item, Output) else err)(item.data),
    )


class _Session:
    def __init__(
        self,
        connection: Connection,
        request: Exec,
        wakeup: socket.socket,
        selector: selectors.BaseSelector,
    ) -> None:
        self._connection = connection
        self._wakeup = wakeup
        self._selector = selector
        self._window = wire.FEED_WINDOW_BYTES
        self._stdin_open = True
        self._signals_passed = 0
        self._reading = False
        selector.register(connection, selectors.EVENT_READ)
        selector.register(wakeup, selectors.EVENT_READ)
        self._id = connection.begin(request)

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
                match msgspec.msgpack.decode(item, type=AnyOutput):
                    case Output(data):
                        _write_all(_STDOUT, data)
                    case ErrorOutput(data):
                        _write_all(_STDERR, data)
            case wire.Credit(_, count):
                self._window += count
            case wire.Done(_, result):
                return msgspec.msgpack.decode(result, type=ExecResult)
            case wire.Failed(_, error):
                raise error.to_error()
        return None

    def _watch_stdin(self) -> None:
        """Read stdin only while the daemon has room for it."""
        wanted = self._stdin_open and self._window > READ_BYTES + SPARE_BYTES
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
            if number == signal.SIGWINCH:
                size = os.get_terminal_size(_STDOUT)
                if size.lines and size.columns:  # a terminal that tells its size
                    self._feed(Resize(size.lines, size.columns))
            else:
                self._signals_passed += 1
                if self._signals_passed > SIGNALS_PASSED:
                    raise KeyboardInterrupt
                self._feed(SendSignal(number))

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
