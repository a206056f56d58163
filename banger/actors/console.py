"""A VM's console on disk: recorded while the daemon runs, bounded, followed by readers.

Two files: ``console.log`` and, once that was full, ``console.log.1``. Beside each is one that
tells when what came, to the second: pairs of a Unix time and a place in the file. A guest that
floods its console is slowed down: it is read no faster than `RATE_BYTES_S`.
"""

from __future__ import annotations

import logging
import math
import os
import struct
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import BinaryIO

import trio

from banger.vmm.base import Machine

log = logging.getLogger(__name__)

LIMIT_BYTES = 1 << 20
CHUNK_BYTES = 16 << 10
RATE_BYTES_S = 1 << 20
NOTED_EVERY_S = 1.0
TIMES_LIMIT_BYTES = 256 << 10

_noted = struct.Struct("<dQ")


class Console:
    def __init__(self, directory: Path) -> None:
        self.path = directory / "console.log"
        self._older = directory / "console.log.1"
        self._noted_at = 0.0
        self._grown = trio.Event()
        self._ended = False
        self.used_at = -math.inf
        """When the last reader left, on trio's clock; infinity while there is one."""
        self._readers = 0

    async def record(self, machine: Machine) -> None:
        """Write down what the guest prints until the VMM closes the console."""
        try:
            stream = await machine.open_console()
        except OSError as error:
            log.warning("no console: %s", error)
            return
        async with stream:
            while data := await _receive(stream):
                try:
                    self._append(data)
                except OSError as error:
                    log.warning("the console of a VM is not kept: %s", error)
                self._pulse()
                await trio.sleep(len(data) / RATE_BYTES_S)

    def _append(self, data: bytes) -> None:
        with self.path.open("ab") as file:
            full = self._note(file.tell())
            file.write(data)
            full = full or file.tell() >= LIMIT_BYTES
        if full:
            self.path.replace(self._older)
            _times(self.path).replace(_times(self._older))

    def _note(self, place: int) -> bool:
        """Write down that what begins at this place has come now. True: the times are full."""
        at = time.time()
        # A clock that was set back begins anew.
        if place and 0 <= at - self._noted_at < NOTED_EVERY_S:
            return False
        self._noted_at = at
        with _times(self.path).open("ab") as file:
            file.write(_noted.pack(at, place))
            return file.tell() >= TIMES_LIMIT_BYTES

    def end(self) -> None:
        """Nothing more will come: followers finish."""
        self._ended = True
        self._pulse()

    async def read(
        self, *, follow: bool, since: float | None = None
    ) -> AsyncGenerator[bytes, None]:
        """What is kept, oldest first; with ``follow`` also what comes, until `end`.

        ``since`` is a Unix time: what came more than a second before it is left out.
        """
        # Both are opened before a slow reader gives them time to be replaced.
        older, file = _open(self._older, since), _open(self.path, since)
        self._use(1)
        try:
            while older is not None and (data := older.read(CHUNK_BYTES)):
                yield data
            while True:
                grown = self._grown
                if file is None:
                    file = _open(self.path)
                while file is not None and (data := file.read(CHUNK_BYTES)):
                    yield data
                if file is not None and not _same(file.fileno(), self.path):
                    file.close()
                    file = None
                    continue
                if not follow or self._ended:
                    return
                await grown.wait()
        finally:
            self._use(-1)
            for opened in (older, file):
                if opened is not None:
                    opened.close()

    def _use(self, more: int) -> None:
        self._readers += more
        self.used_at = math.inf if self._readers else trio.current_time()

    def tail(self, limit: int = 2000) -> str:
        """The last bytes, for error messages."""
        try:
            return self.path.read_bytes()[-limit:].decode(errors="replace")
        except FileNotFoundError:
            return ""

    def _pulse(self) -> None:
        self._grown.set()
        self._grown = trio.Event()


async def _receive(stream: trio.abc.Stream) -> bytes:
    try:
        return bytes(await stream.receive_some(CHUNK_BYTES))
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return b""


def _times(path: Path) -> Path:
    """``console.times`` of ``console.log``, ``console.times.1`` of ``console.log.1``."""
    return path.with_name(path.name.replace("log", "times"))


def _open(path: Path, since: float | None = None) -> BinaryIO | None:
    """At the place of what has come since then."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return None
    if since is not None:
        file.seek(_place(path, since))
    return file


def _place(path: Path, since: float) -> int:
    """Where in the file begins what has come since then; its start when no times are known."""
    try:
        times = _times(path).read_bytes()
    except FileNotFoundError:
        return 0
    whole = times[: len(times) // _noted.size * _noted.size]
    for at, place in _noted.iter_unpack(whole):
        if at >= since - NOTED_EVERY_S:
            return int(place)
    return path.stat().st_size


def _same(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return True
