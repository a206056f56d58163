"""TAP interfaces: made idle ahead of need, leased to a VM, released, deleted.

A TAP is the host's end of a VM's network card. It is persistent (outlives the process that
made it), a port of the bridge, down while idle and up while leased; its name and its alias
say whose it is, so leases can be read back from the machine.

The interface of /dev/net/tun: Linux Documentation/networking/tuntap.rst and
include/uapi/linux/if_tun.h.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
import threading

import msgspec
from pyroute2.netlink.exceptions import NetlinkError

from banger.host import links
from banger.kernel.errors import Conflict, NotFound, UsageError

# Request numbers as on x86, ARM and RISC-V.
_TUNSETIFF = 0x400454CA
_TUNSETPERSIST = 0x400454CB
_TUNSETOWNER = 0x400454CC
_TUNGETIFF = 0x800454D2
_IFREQ = struct.Struct("16sH22x")
_IFF_TAP = 0x0002
_IFF_PERSIST = 0x0800
_IFF_NO_PI = 0x1000
_IFF_VNET_HDR = 0x4000
_IFF_TUN_EXCL = 0x8000
_TAP_FLAGS = _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR

LOOSE_NAMES = "tap-loose%d"
"""The kernel fills in a number."""

_MIN_MTU, _MAX_MTU = 576, 65521

# A lease looks the TAP up by name, then renames it by index: two threads that both
# looked first would both succeed.
_renaming = threading.Lock()


class Tap(msgspec.Struct, frozen=True):
    """A TAP. ``bridge`` is the bridge it is a port of; ``carrier``: someone has it open."""

    name: str
    index: int
    alias: str
    bridge: str | None
    up: bool
    carrier: bool
    mtu: int


def create_tap(
    name: str,
    *,
    bridge: str,
    alias: str = "",
    owner_uid: int | None = None,
    mtu: int | None = None,
) -> Tap:
    """Make the persistent TAP *name* as a port of *bridge*, and leave it down.

    Only root and *owner_uid* (None: the calling process's user) may open it. The
    kernel's MTU of 1500 bytes holds unless *mtu* says otherwise. A failure at any step
    leaves no TAP: it becomes persistent last, and until then dies with its descriptor.

    Raises Conflict if an interface of that name exists, NotFound without the bridge.
    """
    links.check_name(name)
    links.check_alias(alias)
    if mtu is not None and not _MIN_MTU <= mtu <= _MAX_MTU:
        raise UsageError(f"MTU {mtu} is out of range", hint=f"use {_MIN_MTU} to {_MAX_MTU}")
    owner = os.geteuid() if owner_uid is None else owner_uid
    tun = links.open_tun()
    try:
        with links.netlink(f"create TAP {name} on bridge {bridge}") as ipr:
            port_of = links.find_link(ipr, bridge)
            if port_of is None or port_of.kind != "bridge":
                raise NotFound(f"no bridge {bridge} for TAP {name}")
            try:
                fcntl.ioctl(tun, _TUNSETIFF, _ifreq(name, _TAP_FLAGS | _IFF_TUN_EXCL))
            except OSError as error:
                if error.errno == errno.EBUSY:
                    raise Conflict(f"interface {name} already exists") from error
                raise
            # A TAP without an owner can be opened by every user of the host.
            fcntl.ioctl(tun, _TUNSETOWNER, owner)
            links.silence_ipv6(name)
            index = links.index_of(name)
            settings = {"mtu": mtu} if mtu else {}
            ipr.link("set", index=index, master=port_of.index, ifalias=alias, **settings)
            found = links.find_link(ipr, name)
            fcntl.ioctl(tun, _TUNSETPERSIST, 1)
    finally:
        os.close(tun)
    if found is None:
        raise NotFound(f"TAP {name} was deleted while it was being made")
    # It has its carrier from our own descriptor, now closed.
    return msgspec.structs.replace(_tap(found), carrier=False)


def lease_tap(old_name: str, new_name: str, *, alias: str) -> Tap:
    """Give the idle TAP *old_name* to a VM: renamed to *new_name*, with *alias*, up.

    Of two callers for one TAP, one wins and the other gets NotFound. On a failure the
    TAP is as it was.

    Raises Conflict if *new_name* exists, or if *old_name* is no TAP.
    """
    return _hand_over(old_name, new_name, alias=alias, up=True)


def release_tap(name: str, new_name: str) -> Tap:
    """Take the TAP *name* back from a VM: down, no alias, renamed to *new_name*.

    Raises NotFound without that TAP, Conflict if *new_name* exists or *name* is no TAP.
    """
    return _hand_over(name, new_name, alias="", up=False)


def attach_tap(name: str, bridge: str) -> None:
    """Make the TAP a port of the bridge, as after somebody removed the bridge under it.

    Raises NotFound without one of the two.
    """
    with links.netlink(f"put TAP {name} on bridge {bridge}") as ipr:
        tap, port_of = links.find_link(ipr, name), links.find_link(ipr, bridge)
        if tap is None or port_of is None:
            raise NotFound(f"there is no {name if tap is None else bridge}")
        ipr.link("set", index=tap.index, master=port_of.index)


def list_taps(bridge: str | None = None) -> list[Tap]:
    """All TAPs of the host, or those that are ports of *bridge*; sorted by name."""
    with links.netlink("list the TAPs") as ipr:
        found = links.all_links(ipr)
    names = {link.index: link.name for link in found}
    taps = [_tap(link, names.get(link.master)) for link in found if link.is_tap]
    return sorted(
        (tap for tap in taps if bridge is None or tap.bridge == bridge), key=lambda tap: tap.name
    )


def delete_tap(name: str) -> None:
    """Delete the TAP *name*, even if someone has it open. None there: nothing to do.

    Raises Conflict if *name* is another kind of interface.
    """
    links.check_name(name)
    with links.netlink(f"delete TAP {name}") as ipr:
        found = links.find_link(ipr, name)
        if found is None:
            return
        if not found.is_tap:
            raise _not_a_tap(name)
        links.delete_link(ipr, name)


def open_tap(name: str) -> int:
    """A descriptor attached to the TAP *name*, as QEMU's ``-netdev tap,fd=`` wants it.

    It is closed on exec unless passed on; the caller closes it. The TAP has its carrier
    as long as any copy of it is open.

    Raises NotFound without that TAP, Conflict if someone has it open already.
    """
    links.check_name(name)
    if links.index_of(name) is None:
        raise NotFound(f"no TAP {name}")
    tun = links.open_tun()
    try:
        with links.plain_errors(f"open TAP {name}"):
            _attach(tun, name)
    except BaseException:
        os.close(tun)
        raise
    return tun


def open_loose_tap() -> int:
    """A descriptor of a new TAP that is on no bridge, and is gone with its last descriptor."""
    tun = links.open_tun()
    try:
        with links.plain_errors("open a TAP that is connected to nothing"):
            fcntl.ioctl(tun, _TUNSETIFF, _ifreq(LOOSE_NAMES, _TAP_FLAGS | _IFF_TUN_EXCL))
    except BaseException:
        os.close(tun)
        raise
    return tun


def _attach(tun: int, name: str) -> None:
    try:
        fcntl.ioctl(tun, _TUNSETIFF, _ifreq(name, _TAP_FLAGS))
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise Conflict(
                f"TAP {name} is in use by another process", hint="is its VM running?"
            ) from error
        if error.errno == errno.EINVAL:
            raise _not_a_tap(name) from error
        raise
    # TUNSETIFF makes what it doesn't find: if the TAP was deleted since the caller looked,
    # this is a new one, without a bridge, that goes when the descriptor is closed.
    _, flags = _IFREQ.unpack(fcntl.ioctl(tun, _TUNGETIFF, _ifreq("", 0)))
    if not flags & _IFF_PERSIST:
        raise NotFound(f"no persistent TAP {name}")


def _hand_over(name: str, new_name: str, *, alias: str, up: bool) -> Tap:
    links.check_name(name)
    links.check_name(new_name)
    links.check_alias(alias)
    doing = f"{'lease' if up else 'release'} TAP {name} as {new_name}"
    with _renaming, links.netlink(doing) as ipr:
        found = links.find_link(ipr, name)
        if found is None:
            raise NotFound(f"no TAP {name}")
        if not found.is_tap:
            raise _not_a_tap(name)
        if name != new_name and links.index_of(new_name) is not None:
            raise Conflict(f"can't {doing}: interface {new_name} already exists")
        if found.up:
            # Before Linux 6.2 an interface that is up can't be renamed.
            ipr.link("set", index=found.index, state="down")
        try:
            # The kernel takes these in this order: name, alias, flags.
            ipr.link(
                "set",
                index=found.index,
                ifname=new_name,
                ifalias=alias,
                state="up" if up else "down",
            )
        except BaseException:
            with contextlib.suppress(NetlinkError):
                ipr.link("set", index=found.index, state="down")
                ipr.link(
                    "set",
                    index=found.index,
                    ifname=name,
                    ifalias=found.alias,
                    state="up" if found.up else "down",
                )
            raise
    return _tap(msgspec.structs.replace(found, name=new_name, alias=alias, up=up))


def _tap(link: links.Link, bridge: str | None = None) -> Tap:
    return Tap(
        name=link.name,
        index=link.index,
        alias=link.alias,
        bridge=bridge or links.name_of(link.master),
        up=link.up,
        carrier=link.carrier,
        mtu=link.mtu,
    )


def _ifreq(name: str, flags: int) -> bytes:
    return _IFREQ.pack(name.encode(), flags)


def _not_a_tap(name: str) -> Conflict:
    return Conflict(f"interface {name} exists and is not a TAP")
