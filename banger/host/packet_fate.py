"""What a chain of filter rules does with a packet of which only a little is known.

Rules may look at anything; here a packet has its interfaces, whether it belongs to an
established connection, and whether it asks for a name. What a rule asks beyond that is
`Answer.UNKNOWN`, and the benefit of the doubt goes to letting an answer pass and to nothing
else: see `passes`.
"""

from __future__ import annotations

from enum import Enum
from fnmatch import fnmatchcase

import msgspec

_DEPTH = 16
"""The kernel's own limit of nested jumps."""


class Answer(Enum):
    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


class Match(msgspec.Struct, frozen=True):
    """One condition. ``field`` is ``iifname``, ``oifname``, ``state``, ``l4proto``, ``dport``,
    or anything else, which is unknown. ``values`` are alternatives."""

    field: str
    values: tuple[str, ...] = ()
    negated: bool = False


class Rule(msgspec.Struct, frozen=True):
    """``verdict`` is ``accept``, ``drop``, ``return``, ``jump``, ``goto`` or "" for a rule
    that decides nothing; ``target`` the chain of the two that go somewhere."""

    matches: tuple[Match, ...]
    verdict: str
    target: str = ""


class BaseChain(msgspec.Struct, frozen=True):
    """A chain that the kernel calls: ``policy`` is what becomes of what passed all rules."""

    name: str
    hook: str
    policy: str


class Table(msgspec.Struct, frozen=True):
    family: str
    name: str
    chains: dict[str, list[Rule]]
    bases: list[BaseChain]
    legacy: bool = False


class Packet(msgspec.Struct, frozen=True):
    """ "" for an interface is any other one than the VMs' bridge."""

    hook: str
    came_by: str = ""
    leaves_by: str = ""
    established: bool = False
    to_name_service: bool = False

    def answer(self, match: Match) -> Answer:
        known = {
            "iifname": self.came_by,
            # On its way in a packet has no interface to leave by.
            "oifname": self.leaves_by,
            "state": "established" if self.established else "new",
            **({"l4proto": "udp", "dport": "53"} if self.to_name_service else {}),
        }
        if match.field not in known:
            return Answer.UNKNOWN
        value = known[match.field]
        found = any(value and _alike(value, each) for each in match.values)
        return Answer.YES if found != match.negated else Answer.NO


def passes(table: Table, chain: BaseChain, packet: Packet) -> bool:
    """Whether the chain accepts the packet, as far as one can tell.

    A rule with an unknown condition is taken not to match; but for an established connection
    one that accepts is taken to match. That is how iptables' conntrack rules look in
    nftables' JSON, and a firewall that lets VMs ask but not be answered is rare.
    """
    verdict = _fate(table, chain.name, packet, _DEPTH) or chain.policy
    return verdict == "accept"


def _fate(table: Table, chain: str, packet: Packet, depth: int) -> str:
    """``accept``, ``drop``, or "" for going on behind the rule that led here."""
    if depth == 0:
        return ""
    for rule in table.chains.get(chain, ()):
        answers = {packet.answer(match) for match in rule.matches}
        if Answer.NO in answers:
            continue
        if Answer.UNKNOWN in answers and not packet.established:
            continue
        if rule.verdict in ("jump", "goto"):
            verdict = _fate(table, rule.target, packet, depth - 1)
            if verdict == "drop" and Answer.UNKNOWN in answers:
                continue
            if verdict or rule.verdict == "goto":
                return verdict
        elif rule.verdict == "accept":
            return "accept"
        elif rule.verdict in ("drop", "return") and Answer.UNKNOWN not in answers:
            return "drop" if rule.verdict == "drop" else ""
    return ""


def _alike(value: str, wanted: str) -> bool:
    return fnmatchcase(value, wanted.replace("[", "[[]"))
