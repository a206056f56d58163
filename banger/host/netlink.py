"""The host's network as the rest of banger uses it: one bridge, its TAPs, its subnet.

Everything here is synchronous, for ``trio.to_thread.run_sync``, and may be called from
several threads at once. Needs CAP_NET_ADMIN and /dev/net/tun: :func:`check_rights` tells.
"""

from __future__ import annotations

from banger.host.bridge import Bridge, delete_bridge, ensure_bridge, find_bridge
from banger.host.links import check_rights
from banger.host.subnet import choose_subnet, host_networks
from banger.host.tap import (
    Tap,
    attach_tap,
    create_tap,
    delete_tap,
    lease_tap,
    list_taps,
    open_loose_tap,
    open_tap,
    release_tap,
)

__all__ = [
    "Bridge",
    "Tap",
    "attach_tap",
    "check_rights",
    "choose_subnet",
    "create_tap",
    "delete_bridge",
    "delete_tap",
    "ensure_bridge",
    "find_bridge",
    "host_networks",
    "lease_tap",
    "list_taps",
    "open_loose_tap",
    "open_tap",
    "release_tap",
]
