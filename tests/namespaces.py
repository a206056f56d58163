"""Machines on a wire, for tests of the network: namespaces joined to the test's by a veth.

Nothing of it outlives its descriptors, so a crashed test leaves nothing behind. A socket
belongs for ever to the namespace of the thread that made it, and so does a child process:
each function that has to run inside runs in a thread that has entered.
"""

from __future__ import annotations

import ctypes
import os
import socket as sockets
import struct
import subprocess
import threading
from collections.abc import Callable
from ipaddress import IPv4Address
from typing import TypeVar

from pyroute2 import IPRoute

T = TypeVar("T")

CLONE_NEWNET = 0x40000000
ETH_P_ALL = 3
TIMEOUT_S = 5.0

_libc = ctypes.CDLL(None, use_errno=True)


class Machine:
    """A namespace with one card, ``eth0``; the other end, ``port``, is in the test's."""

    def __init__(self, port: str, mac: str) -> None:
        self.port, self.mac = port, mac
        self._sockets: list[sockets.socket] = []
        self._namespace = _in_thread(_new_namespace)
        with IPRoute() as ipr:
            ipr.link("add", ifname=port, kind="veth", peer=port + "-in")
            (index,) = ipr.link_lookup(ifname=port + "-in")
            ipr.link("set", index=index, net_ns_fd=self._namespace)
            (index,) = ipr.link_lookup(ifname=port)
            ipr.link("set", index=index, state="up")
        self.ip("link", "set", "lo", "up")
        self.ip("link", "set", port + "-in", "name", "eth0")
        self.ip("link", "set", "eth0", "address", mac, "up")

    def run(self, *argv: str) -> None:
        self.inside(lambda: subprocess.run(argv, check=True, capture_output=True))

    def ip(self, *arguments: str) -> None:
        self.run("ip", *arguments)

    def inside(self, function: Callable[[], T]) -> T:
        def enter() -> T:
            _check(_libc.setns(self._namespace, CLONE_NEWNET))
            return function()

        return _in_thread(enter)

    def socket(self, kind: int, port: int = 0) -> sockets.socket:
        """An IPv4 socket in there, bound to ``port`` of every address; closed with it."""
        made = self._own(lambda: sockets.socket(sockets.AF_INET, kind))
        made.setsockopt(sockets.SOL_SOCKET, sockets.SO_REUSEADDR, 1)
        made.bind(("", port))
        return made

    def wire(self) -> sockets.socket:
        """The card itself: sends and receives whole frames."""

        def make() -> sockets.socket:
            made = sockets.socket(sockets.AF_PACKET, sockets.SOCK_RAW, sockets.htons(ETH_P_ALL))
            made.bind(("eth0", ETH_P_ALL))
            return made

        return self._own(make)

    def _own(self, make: Callable[[], sockets.socket]) -> sockets.socket:
        made = self.inside(make)
        made.settimeout(TIMEOUT_S)
        self._sockets.append(made)
        return made

    def close(self) -> None:
        for each in self._sockets:
            each.close()
        with IPRoute() as ipr:
            for index in ipr.link_lookup(ifname=self.port):
                ipr.link("del", index=index)
        os.close(self._namespace)


def frame(to: str, sender: str, ethertype: int, payload: bytes) -> bytes:
    return _mac(to) + _mac(sender) + struct.pack("!H", ethertype) + payload


def arp(operation: int, sender: tuple[str, str], target: tuple[str, str]) -> bytes:
    """RFC 826, for Ethernet and IPv4; ``sender`` and ``target`` are MAC and address."""
    header = struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation)
    return header + b"".join(_mac(mac) + IPv4Address(ip).packed for mac, ip in (sender, target))


def udp(sender: tuple[str, int], to: tuple[str, int], data: bytes) -> bytes:
    """An IPv4 packet with an UDP datagram, without the latter's checksum."""
    datagram = struct.pack("!HHHH", sender[1], to[1], 8 + len(data), 0) + data
    addresses = IPv4Address(sender[0]).packed + IPv4Address(to[0]).packed
    rest = struct.pack("!BBHHHBB", 0x45, 0, 20 + len(datagram), 1, 0, 64, sockets.IPPROTO_UDP)
    total = sum(struct.unpack("!9H", rest[:10] + addresses))
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return rest + struct.pack("!H", ~total & 0xFFFF) + addresses + datagram


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def _new_namespace() -> int:
    _check(_libc.unshare(CLONE_NEWNET))
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _check(failed: int) -> None:
    if failed:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _in_thread(function: Callable[[], T]) -> T:
    results: list[T] = []
    errors: list[BaseException] = []

    def call() -> None:
        try:
            results.append(function())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
