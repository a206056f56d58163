"""What the commands of one process share: paths, connections, and what plugins add."""

from __future__ import annotations

import select
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from banger.client.connection import Connection
from banger.client.launch import connect, connect_or_start
from banger.host.places import Places
from banger.kernel.errors import BangerError

if TYPE_CHECKING:
    from banger.host.paths import Paths
    from banger.model.requests.plugins import Interface


class Session:
    """Safe for threads. A command leases a connection for itself, and gives it back."""

    def __init__(self) -> None:
        self.places = Places.here()
        self._lock = threading.Lock()
        self._connecting = threading.Lock()
        """Many commands that begin together must not each start a daemon."""
        self._idle: list[Connection] = []
        self._daemon_pid: int | None = None
        self._interface: Interface | None = None

    @property
    def paths(self) -> Paths:
        from banger.host.paths import Paths  # it loads pathlib

        return Paths.at(self.places)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def lease(self) -> Connection:
        """A connection with nothing under way; the daemon is started when none runs."""
        connection = self._take_idle()
        if connection is None:
            with self._connecting:
                connection = connect_or_start(self.places)
            with self._lock:
                if self._daemon_pid not in (None, connection.hello.pid):
                    self._interface = None
                self._daemon_pid = connection.hello.pid
        return connection

    def _take_idle(self) -> Connection | None:
        while True:
            with self._lock:
                if not self._idle:
                    return None
                connection = self._idle.pop()
            if not _has_news(connection):
                return connection
            connection.close()  # all there can be to read is its end

    def give_back(self, connection: Connection) -> None:
        if connection.idle:
            with self._lock:
                self._idle.append(connection)
        else:
            connection.close()

    def interface(self) -> Interface:
        """What plugins add to the command line. Raises `HostNotReady` when nobody can tell."""
        found = self._interface
        if found is None:
            from banger.client.interface import find_interface, remember

            connection = self._take_idle()
            try:
                with suppress(BangerError):  # a daemon that is not for us
                    connection = connection or connect(self.places)
                found = self._interface = find_interface(connection)
                remember(self.places, found)
            finally:
                if connection is not None:
                    self.give_back(connection)
        return found

    def forget_interface(self) -> None:
        """The next who asks for it gets it from the daemon."""
        self._interface = None


def _has_news(connection: Connection) -> bool:
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))
