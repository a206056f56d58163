"""Notices changes of nftables: the kernel's own notifications, no process and no polling.

The format is nfnetlink's (``linux/netfilter/nfnetlink.h``, ``nf_tables.h``). It is not
decoded: each message about a table, or what is in one, carries the table's name.
"""

from __future__ import annotations

import errno
import socket
from types import TracebackType

import trio

from banger.host.links import plain_errors

BURST_S = 0.2
"""A reload comes as thousands of messages: look once for all that come within this time."""

_NETLINK_NETFILTER = 12
_SOL_NETLINK = 270
_NETLINK_ADD_MEMBERSHIP = 1
_NFNLGRP_NFTABLES = 7
_CHUNK = 1 << 16


class ChangeWatch:
    """Watches what happens to the tables of one name from the moment it is made."""

    def __init__(self, table: str) -> None:
        """Raises `HostNotReady` without CAP_NET_ADMIN, or in a kernel without nftables."""
        self._mark = table.encode() + b"\0"
        with plain_errors("watch nftables"):
            self._socket = socket.socket(
                socket.AF_NETLINK,
                socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC,
                _NETLINK_NETFILTER,
            )
            try:
                self._socket.bind((0, 0))
                self._socket.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, _NFNLGRP_NFTABLES)
            except OSError:
                self._socket.close()
                raise

    async def changed(self) -> None:
        """Wait until the tables have changed, or may have: messages can get lost.

        Returns once for a burst of changes. Cancellation loses nothing but the 0.2 s.
        """
        while True:
            await trio.lowlevel.wait_readable(self._socket)
            await trio.sleep(BURST_S)
            if self._drain():
                return

    def _drain(self) -> bool:
        concerned = False
        while True:
            try:
                concerned |= self._mark in self._socket.recv(_CHUNK)
            except BlockingIOError:
                return concerned
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                concerned = True

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> ChangeWatch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
