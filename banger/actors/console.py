"""A VM's console on disk: recorded while the daemon runs, bounded, followed by readers.

Two files: ``console.log`` and, once that was full, ``console.log.1``. A guest that floods
its console is slowed down: it is read no faster than `RATE_BYTES_S`.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import BinaryIO

import trio

from banger.vmm.base import Machine

log = logging.getLogger(__name__)

LIMIT_BYTES = 1 << 20
CHUNK_BYTES = 16 << 10
RATE_BYTES_S = 1 << 20


class Console:
    def __init__(self, directory: Path) -> None:
        self.path = directory / "console.log"
        self._older = directory / "console.log.1"
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
            file.write(data)
            full = file.tell() >= LIMIT_BYTES
        if full:
            self.path.replace(self._older)

    def end(self) -> None:
        """Nothing more will come: followers finish."""
        self._ended = True
        self._pulse()

    async def read(self, *, follow: bool) -> AsyncGenerator[bytes, None]:
        """What is kept, oldest first; with ``follow`` also what comes, until `end`."""
        # Both are opened before a slow reader gives them time to be replaced.
        older, file = _open(self._older), _open(self.path)
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


def _open(path: Path) -> BinaryIO | None:
    try:
        return path.open("rb")
    except FileNotFoundError:
        return None


def _same(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return True
