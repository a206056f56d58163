"""How this host looks up names, and what makes it ask banger for those of the VMs."""

from __future__ import annotations

import re
import socket
from contextlib import suppress
from enum import StrEnum
from ipaddress import IPv4Network
from pathlib import Path

from banger_dns.owner import describe_owner
from banger_dns.resolvers import DNS_PORT, RESOLVED_STUBS, parse_resolv_conf

_NETWORK_MANAGER_CONF = (
    "etc/NetworkManager/NetworkManager.conf",
    "etc/NetworkManager/conf.d/*.conf",
    "run/NetworkManager/conf.d/*.conf",
    "usr/lib/NetworkManager/conf.d/*.conf",
)
_USES_DNSMASQ = re.compile(r"^\s*dns\s*=\s*dnsmasq\s*$", re.MULTILINE)
_USES_RESOLVE = re.compile(r"^\s*hosts\s*:.*\bresolve\b", re.MULTILINE)


class Manager(StrEnum):
    """Who answers the host's programs."""

    RESOLVED = "systemd-resolved"
    NETWORK_MANAGER = "networkmanager"
    DNSMASQ = "dnsmasq"
    PLAIN = "resolv.conf"


def detect(*, resolved_runs: bool, root: Path = Path("/")) -> Manager:
    """Who it is on the host whose files are below *root*. Blocks."""
    servers = [server.address for server in parse_resolv_conf(_read(root / "etc/resolv.conf"))]
    if resolved_runs and (
        RESOLVED_STUBS & set(servers) or _USES_RESOLVE.search(_read(root / "etc/nsswitch.conf"))
    ):
        return Manager.RESOLVED
    files = [path for pattern in _NETWORK_MANAGER_CONF for path in root.glob(pattern)]
    if any(_USES_DNSMASQ.search(_read(path)) for path in files):
        return Manager.NETWORK_MANAGER
    for address in servers:
        with suppress(OSError):
            owner = describe_owner(address, DNS_PORT, socket.SOCK_DGRAM, root / "proc")
            if address.startswith("127.") and owner.startswith("dnsmasq "):
                return Manager.DNSMASQ
    return Manager.PLAIN


def recipe(
    manager: Manager, *, zone: str, bridge: str, address: str, subnet: IPv4Network
) -> list[str]:
    """What to do by hand, lines to paste and comments. None for systemd-resolved."""
    rules = [
        f"server=/{zone}/{address}",
        f"rev-server={subnet},{address}",
        f"rebind-domain-ok=/{zone}/",
    ]
    match manager:
        case Manager.RESOLVED:
            return []
        case Manager.NETWORK_MANAGER:
            return [
                *_file("/etc/NetworkManager/dnsmasq.d/banger.conf", rules),
                "nmcli general reload dns-full",
            ]
        case Manager.DNSMASQ:
            aside = ["bind-dynamic", f"except-interface={bridge}"]
            return [
                "# where the configuration has bind-interfaces, leave bind-dynamic out",
                *_file("/etc/dnsmasq.d/banger.conf", [*rules, *aside]),
                "systemctl restart dnsmasq",
            ]
        case Manager.PLAIN:
            return [
                "# libc asks one server for everything, so it has to be banger's, which asks the",
                "# others; while the daemon is down libc goes on to the next one at once",
                "# 1. into banger's config.toml, then 'banger daemon stop' and 'start':",
                "#      [capabilities.dns]",
                f"#      port = {DNS_PORT}",
                "# 2. as the first server, here or in what writes this file (dhclient: 'prepend",
                "#    domain-name-servers 127.0.0.1;'):",
                "sed -i '1i nameserver 127.0.0.1' /etc/resolv.conf",
            ]


def undo_recipe(manager: Manager) -> list[str]:
    match manager:
        case Manager.RESOLVED:
            return []
        case Manager.NETWORK_MANAGER:
            return [
                "rm -f /etc/NetworkManager/dnsmasq.d/banger.conf",
                "nmcli general reload dns-full",
            ]
        case Manager.DNSMASQ:
            return ["rm -f /etc/dnsmasq.d/banger.conf", "systemctl restart dnsmasq"]
        case Manager.PLAIN:
            return [
                r"sed -i '/^nameserver 127\.0\.0\.1$/d' /etc/resolv.conf",
                "# and take 'port' out of [capabilities.dns] in banger's config.toml",
            ]


def _file(path: str, lines: list[str]) -> list[str]:
    return [f"cat >{path} <<END", *lines, "END"]


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
