"""Finds firewalls of others (Docker, firewalld, ufw, …) that drop what our own lets pass.

A packet passes a hook only if every base chain on it agrees, so one of theirs is enough to
cut the VMs off. Each chain is asked, by following its rules, what becomes of the packets that
matter: one from a VM to the world, one back to it, one from a VM to the host's name service.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator

from banger.host.iptables_save import read_save
from banger.host.nft_json import read_ruleset
from banger.host.nftables import DEADLINE_S, run_nft
from banger.host.packet_fate import BaseChain, Packet, Table, passes
from banger.host.ruleset import table_name
from banger.model.firewall import ForeignDrop

_LEGACY_SAVE = "iptables-legacy-save"


def foreign_drops(bridge: str) -> list[ForeignDrop]:
    """Chains that drop packets of the VMs on ``bridge``, each with a remedy to paste.

    Synchronous, for a thread. Errors as in `nftables.apply`.
    """
    tables = read_ruleset(json.loads(run_nft("--json", "list", "ruleset") or "{}"))
    tables = [table for table in tables if table.name != table_name(bridge)]
    return [
        _drop(bridge, table, chain)
        for table in (*tables, *_legacy_tables())
        for chain in table.bases
        if not all(passes(table, chain, packet) for packet in _packets(bridge, chain.hook))
    ]


def _packets(bridge: str, hook: str) -> Iterator[Packet]:
    if hook == "forward":
        yield Packet(hook, came_by=bridge)
        yield Packet(hook, leaves_by=bridge, established=True)
    elif hook == "input":
        yield Packet(hook, came_by=bridge, to_name_service=True)


def _legacy_tables() -> list[Table]:
    """Rules of the old kernel interface, which nftables does not show."""
    save = shutil.which(_LEGACY_SAVE) or shutil.which(_LEGACY_SAVE, path="/usr/sbin:/sbin")
    if save is None:
        return []
    done = subprocess.run([save], capture_output=True, text=True, timeout=DEADLINE_S)
    return read_save(done.stdout) if done.returncode == 0 else []


def _drop(bridge: str, table: Table, chain: BaseChain) -> ForeignDrop:
    tool, remedy = _remedy(bridge, table, chain)
    return ForeignDrop(tool, f"{table.family} {table.name}", chain.name, chain.hook, remedy)


def _remedy(bridge: str, table: Table, chain: BaseChain) -> tuple[str, str]:
    forward = chain.hook == "forward"
    if table.name == "firewalld":
        trust = f"firewall-cmd --permanent --zone=trusted --add-interface={bridge}"
        return "firewalld", f"{trust} && firewall-cmd --reload"
    iptables = "iptables-legacy" if table.legacy else "iptables"
    if forward and "DOCKER-USER" in table.chains:
        return "docker", _both_ways(f"{iptables} -I DOCKER-USER -{{}} {bridge} -j ACCEPT", "io")
    if any(name.startswith("ufw-") for name in table.chains):
        if forward:
            return "ufw", _both_ways(f"ufw route allow {{}} on {bridge}", ("in", "out"))
        return "ufw", f"ufw allow in on {bridge} to any port 53"
    if table.legacy or (table.family == "ip" and chain.name.isupper()):
        if forward:
            return "iptables", _both_ways(f"{iptables} -I FORWARD -{{}} {bridge} -j ACCEPT", "io")
        allow = f"{iptables} -I INPUT -i {bridge} -p {{}} --dport 53 -j ACCEPT"
        return "iptables", _both_ways(allow, ("udp", "tcp"))
    insert = f"nft insert rule {table.family} {table.name} {chain.name}"
    if forward:
        return "nftables", _both_ways(f"{insert} {{}} {bridge} accept", ("iifname", "oifname"))
    return "nftables", f"{insert} iifname {bridge} th dport 53 accept"


def _both_ways(command: str, ways: tuple[str, str] | str) -> str:
    return " && ".join(command.format(way) for way in ways)
