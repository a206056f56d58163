"""Reads the output of ``iptables-save`` (iptables-save(8)) as far as `packet_fate` asks."""

from __future__ import annotations

import shlex

from banger.host.packet_fate import BaseChain, Match, Rule, Table

_HOOKS = {"FORWARD": "forward", "INPUT": "input"}
_VERDICTS = {"ACCEPT": "accept", "DROP": "drop", "REJECT": "drop", "RETURN": "return"}
_FIELDS = {
    "-i": "iifname",
    "-o": "oifname",
    "-p": "l4proto",
    "--dport": "dport",
    "--ctstate": "state",
    "--state": "state",
}
_ANNOUNCES = "-m"
"""Names a kind of match, whose own options follow."""


def read_save(text: str) -> list[Table]:
    """The filter table, if it is there. Other tables are no place to filter."""
    chains: dict[str, list[Rule]] = {}
    bases: list[BaseChain] = []
    table = ""
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif table != "filter":
            continue
        elif line.startswith(":"):
            name, policy = line[1:].split()[:2]
            chains[name] = []
            if name in _HOOKS:
                bases.append(BaseChain(name, _HOOKS[name], policy.lower()))
        elif line.startswith("-A "):
            _, chain, *words = shlex.split(line)
            chains[chain].append(_rule(words))
    return [Table("ip", "filter", chains, bases, legacy=True)] if chains else []


def _rule(words: list[str]) -> Rule:
    matches: list[Match] = []
    verdict = target = ""
    negated = False
    left = iter(words)
    for word in left:
        if word == "!":
            negated = True
        elif word in ("-j", "-g"):
            target = next(left)
            break  # what follows are the target's own options
        elif word in _FIELDS:
            value = next(left)
            if "state" in word:
                value = value.lower()
            elif value.endswith("+"):
                value = f"{value[:-1]}*"  # interfaces that begin so
            alternatives = tuple(value.split(","))
            matches.append(Match(_FIELDS[word], alternatives, negated))
            negated = False
        elif word == _ANNOUNCES:
            next(left)
        elif word.startswith("-"):
            matches.append(Match(word))
            negated = False
    if target in _VERDICTS:
        verdict, target = _VERDICTS[target], ""
    elif target:
        verdict = "goto" if "-g" in words else "jump"
    return Rule(tuple(matches), verdict, target)
