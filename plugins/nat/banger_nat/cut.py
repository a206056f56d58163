"""What a change of options cuts off at once, rather than for new connections only."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address

import trio

from banger_nat.conntrack import Connection, forget
from banger_nat.options import NatOptions


async def cut(address: str, before: NatOptions, options: NatOptions) -> None:
    """Connections of the VM at this address that ``options`` don't grant, and UDP of others
    that is now for the VM."""
    guest = IPv4Address(address)
    changed = bool(before.reachable) and before.reachable != options.reachable
    removed = {
        (each.protocol, each.host_port) for each in set(before.published) - set(options.published)
    }
    added = {each.host_port for each in options.published if each.protocol == "udp"}
    added -= {each.host_port for each in before.published if each.protocol == "udp"}

    def of_guest(each: Connection) -> bool:
        if each.source == guest and each.masqueraded and not each.led:
            return not any(
                entry.grants(each.answers, each.protocol, each.port) for entry in options.reachable
            )
        return each.answers == guest and each.led and (each.protocol, each.port) in removed

    def stray(each: Connection) -> bool:
        mine = each.protocol == "udp" and each.port in added and not each.led
        return mine and _is_here(each.answers)

    if changed or removed:
        await trio.to_thread.run_sync(forget, guest.packed, of_guest)
    for port in added:
        await trio.to_thread.run_sync(forget, port.to_bytes(2, "big"), stray)


def _is_here(address: IPv4Address) -> bool:
    """It is one of this host's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind((str(address), 0))
        except OSError:
            return False
    return True
