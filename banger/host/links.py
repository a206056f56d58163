"""What bridges and TAPs have in common: looking at a link, names, rights, and plain errors.

Every function here and in :mod:`banger.host.bridge`, :mod:`banger.host.tap` and
:mod:`banger.host.subnet` is synchronous and may be called from any thread: pyroute2's
synchronous objects belong to the thread that made them, so each call opens, uses and
closes its own.
"""

from __future__ import annotations

import errno
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from banger.kernel.errors import Conflict, HostNotReady, NotFound, UsageError

TUN_DEVICE = "/dev/net/tun"
RIGHTS_HINT = "run bangerd as root, or give its service CAP_NET_ADMIN"

_CAP_NET_ADMIN = 12
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
# Linux IFNAMSIZ less its NUL; IFALIASZ less two, as the kernel wants it shorter by one
# and pyroute2 adds a NUL.
_MAX_NAME_BYTES = 15
_MAX_ALIAS_BYTES = 254
# include/uapi/linux/rtnetlink.h: a link without its counters is half the size.
_RTEXT_FILTER_SKIP_STATS = 1 << 3
_IFF_UP = 0x1
_IFLA_TUN_TYPE_TAP = 2


class Link(msgspec.Struct, frozen=True):
    """One network interface as the kernel shows it. ``master`` is an index, 0 for none."""

    name: str
    index: int
    kind: str
    is_tap: bool
    alias: str
    master: int
    mac: str
    mtu: int
    up: bool
    carrier: bool


def check_name(name: str) -> None:
    """Raise UsageError unless *name* can be an interface: 1 to 15 of ``A-Za-z0-9_.-``.

    Stricter than the kernel, which takes a ``%d`` for a counter; and ``all`` and
    ``default`` are not interfaces but columns of ``/proc/sys/net``.
    """
    if len(name.encode()) > _MAX_NAME_BYTES:
        raise UsageError(
            f"interface name {name!r} is {len(name.encode())} bytes long",
            hint=f"Linux allows {_MAX_NAME_BYTES}",
        )
    if not _NAME.fullmatch(name) or name in ("all", "default"):
        raise UsageError(
            f"{name!r} can't be an interface name", hint="use letters, digits, '_', '.' and '-'"
        )


def check_alias(alias: str) -> None:
    """Raise UsageError if *alias* is longer than 254 bytes or holds control characters."""
    if len(alias.encode()) > _MAX_ALIAS_BYTES or not alias.isprintable():
        raise UsageError(
            f"interface alias {alias!r} can't be set",
            hint=f"at most {_MAX_ALIAS_BYTES} bytes, printable characters only",
        )


def check_rights() -> None:
    """Raise HostNotReady, saying what is missing, unless this process may make TAPs."""
    status = Path("/proc/self/status").read_text()
    effective = re.search(r"^CapEff:\s*([0-9a-f]+)$", status, re.MULTILINE)
    if effective is None or not int(effective[1], 16) >> _CAP_NET_ADMIN & 1:
        raise HostNotReady("bangerd lacks CAP_NET_ADMIN", hint=RIGHTS_HINT)
    os.close(open_tun())


def open_tun() -> int:
    """A new descriptor of /dev/net/tun, closed on exec; the caller closes it."""
    try:
        return os.open(TUN_DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise HostNotReady(f"{TUN_DEVICE} is missing", hint="modprobe tun") from error
    except OSError as error:
        # ENXIO and ENODEV: the node is there, the module is not.
        missing = error.errno in (errno.ENXIO, errno.ENODEV)
        raise HostNotReady(
            f"can't open {TUN_DEVICE}: {error.strerror}",
            hint="modprobe tun" if missing else RIGHTS_HINT,
        ) from error


@contextmanager
def plain_errors(doing: str) -> Iterator[None]:
    """Turn the kernel's refusals into banger's errors that name the operation *doing*.

    EPERM and EACCES become HostNotReady with the hint about rights, EEXIST and EBUSY
    Conflict, ENODEV NotFound, all others HostNotReady.
    """
    try:
        yield
    except NetlinkError as error:
        raise _plain(doing, int(error.code)) from error
    except OSError as error:
        raise _plain(doing, error.errno or 0) from error


def _plain(doing: str, code: int) -> Exception:
    reason = f"{os.strerror(code)} ({errno.errorcode.get(code, code)})"
    if code in (errno.EPERM, errno.EACCES):
        return HostNotReady(f"not permitted to {doing}: {reason}", hint=RIGHTS_HINT)
    if code in (errno.EEXIST, errno.EBUSY):
        return Conflict(f"can't {doing}: {reason}")
    if code == errno.ENODEV:
        return NotFound(f"can't {doing}: {reason}")
    return HostNotReady(f"can't {doing}: {reason}")


@contextmanager
def netlink(doing: str) -> Iterator[IPRoute]:
    """A netlink socket for one operation, its errors in plain words naming *doing*."""
    with plain_errors(doing), IPRoute() as ipr:
        yield ipr


def find_link(ipr: IPRoute, name: str) -> Link | None:
    """The interface called *name*, or None."""
    try:
        (message,) = ipr.link("get", ifname=name, ext_mask=_RTEXT_FILTER_SKIP_STATS)
    except NetlinkError as error:
        if error.code == errno.ENODEV:
            return None
        raise
    return _link(message)


def all_links(ipr: IPRoute) -> list[Link]:
    """Every interface of this network namespace."""
    return [_link(message) for message in ipr.link("dump", ext_mask=_RTEXT_FILTER_SKIP_STATS)]


def delete_link(ipr: IPRoute, name: str) -> None:
    """Delete the interface *name*; that it has gone by itself meanwhile is as good.

    By name and not by index: under that index it may just have been leased.
    """
    try:
        ipr.link("del", ifname=name)
    except NetlinkError as error:
        if error.code != errno.ENODEV:
            raise


def index_of(name: str) -> int | None:
    """The index of the interface called *name*, or None; costs one system call."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return None


def name_of(index: int) -> str | None:
    """The name of the interface *index*, or None for 0 and for one that has gone."""
    try:
        return socket.if_indextoname(index) if index else None
    except OSError:
        return None


def silence_ipv6(name: str) -> None:
    """Keep the host's IPv6 stack off the interface *name*: no link-local address, no
    neighbour chatter, no router advertisement believed. Frames of guests still pass.

    Best effort: on a host without IPv6 there is nothing to switch off, and where
    /proc/sys is read-only (containers) only the firewall can do it.
    """
    directory = Path("/proc/sys/net/ipv6/conf", name)
    for setting, value in (("accept_ra", b"0"), ("disable_ipv6", b"1")):
        try:
            (directory / setting).write_bytes(value)
        except OSError:
            return


def _link(message: Any) -> Link:
    kind = message.get(("linkinfo", "kind"))
    return Link(
        name=message.get_attr("IFLA_IFNAME"),
        index=message["index"],
        kind=kind or "",
        is_tap=kind == "tun"
        and message.get(("linkinfo", "data", "tun_type")) == _IFLA_TUN_TYPE_TAP,
        alias=message.get_attr("IFLA_IFALIAS") or "",
        master=message.get_attr("IFLA_MASTER") or 0,
        mac=message.get_attr("IFLA_ADDRESS") or "",
        mtu=message.get_attr("IFLA_MTU") or 0,
        up=bool(message["flags"] & _IFF_UP),
        carrier=bool(message.get_attr("IFLA_CARRIER")),
    )
