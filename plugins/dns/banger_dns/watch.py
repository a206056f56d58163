"""Learn that a bridge was made anew, or that files in a directory were written.

By rtnetlink(7) and inotify(7), for which Python has no module.
"""

from __future__ import annotations

import ctypes
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import trio

BURST_S = 0.2
"""Changes come in groups: look once for all of them."""

_RTMGRP_LINK = 0x1
_CREATED_MOVED_WRITTEN_GONE = 0x100 | 0x80 | 0x8 | 0x400
_CHUNK_BYTES = 1 << 16

_libc = ctypes.CDLL(None, use_errno=True)


class Watch:
    """Opened before one looks, so that nothing goes unnoticed in between. Not for two tasks."""

    def __init__(self, interface: str, directory: Path) -> None:
        """Of a ``directory`` that is not there the nearest one above counts. Raises OSError."""
        self._interface = interface
        self._index = index_of(interface)
        self._links = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
        )
        try:
            self._links.bind((0, _RTMGRP_LINK))
            self._files = _checked(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        except OSError:
            self._links.close()
            raise
        while not self._add(directory) and directory != directory.parent:
            directory = directory.parent

    def _add(self, directory: Path) -> bool:
        path, mask = os.fsencode(directory), _CREATED_MOVED_WRITTEN_GONE
        return bool(_libc.inotify_add_watch(self._files, path, mask) >= 0)

    async def changed(self) -> None:
        """Return some time after the first change."""
        async with trio.open_nursery() as nursery:

            async def end_with(wait: Callable[[], Awaitable[None]]) -> None:
                await wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(end_with, self._interface_changed)
            nursery.start_soon(end_with, self._files_changed)
        await trio.sleep(BURST_S)

    async def _files_changed(self) -> None:
        await trio.lowlevel.wait_readable(self._files)

    async def _interface_changed(self) -> None:
        while index_of(self._interface) == self._index:
            await trio.lowlevel.wait_readable(self._links)
            # Lost messages do not matter to one who looks anyway.
            with suppress(OSError):
                while True:
                    self._links.recv(_CHUNK_BYTES)

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._links.close()
        os.close(self._files)


def index_of(interface: str) -> int:
    """0 when there is none."""
    try:
        return socket.if_nametoindex(interface)
    except OSError:
        return 0


def _checked(descriptor: int) -> int:
    if descriptor < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return descriptor
