"""Reads ``nft --json list ruleset`` (libnftables-json(5)) as far as `packet_fate` asks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from banger.host.packet_fate import BaseChain, Match, Rule, Table

_FAMILIES = ("ip", "inet")
_HOOKS = ("forward", "input")
_FIELDS = {"iif": "iifname", "oif": "oifname", "iifname": "iifname", "oifname": "oifname"}
_PLAIN_VERDICTS = ("accept", "drop", "return")
_SILENT = frozenset(("counter", "log", "comment", "limit"))
"""Statements that decide nothing. ``limit`` matches up to its rate: so it does here."""


def read_ruleset(document: dict[str, Any]) -> list[Table]:
    """The tables that see IPv4 packets being routed."""
    tables: dict[tuple[str, str], Table] = {}
    sets: dict[tuple[str, str, str], list[Any]] = {}
    for entry in document.get("nftables", ()):
        ((kind, body),) = entry.items()
        if body.get("family") not in _FAMILIES:
            continue
        place = body["family"], body.get("table") or body["name"]
        table = tables.setdefault(place, Table(*place, chains={}, bases=[]))
        if kind == "chain":
            table.chains[body["name"]] = []
            if body.get("hook") in _HOOKS and body.get("type") == "filter":
                policy = body.get("policy", "accept")
                table.bases.append(BaseChain(body["name"], body["hook"], policy))
        elif kind in ("set", "map"):
            sets[*place, body["name"]] = body.get("elem", [])
    for entry in document.get("nftables", ()):
        rule = entry.get("rule")
        if rule is not None and rule["family"] in _FAMILIES:
            place = rule["family"], rule["table"]
            named = {key[2]: values for key, values in sets.items() if key[:2] == place}
            tables[place].chains[rule["chain"]].extend(_rules(rule["expr"], named))
    return list(tables.values())


def _rules(expressions: list[dict[str, Any]], sets: dict[str, list[Any]]) -> Iterator[Rule]:
    """One rule; or for a verdict map one for each of its elements."""
    matches: list[Match] = []
    for expression in expressions:
        ((kind, body),) = expression.items()
        if kind == "match":
            matches.append(_match(body, sets))
        elif kind in _PLAIN_VERDICTS:
            yield Rule(tuple(matches), kind)
        elif kind == "reject":
            yield Rule(tuple(matches), "drop")
        elif kind in ("jump", "goto"):
            yield Rule(tuple(matches), kind, body["target"])
        elif kind == "vmap":
            field, data = _field(body["key"]), body["data"]
            elements = data.get("set", []) if isinstance(data, dict) else sets.get(data[1:], [])
            for key, verdict in elements:
                on_key = Match(field, _values(key, sets))
                yield from (
                    Rule((*matches, on_key), rule.verdict, rule.target)
                    for rule in _rules([verdict], sets)
                )
        elif kind == "xt":
            # A match or target of iptables that nft can't spell.
            matches.append(Match("xt"))
        elif kind not in _SILENT:
            matches.append(Match(kind))


def _match(body: dict[str, Any], sets: dict[str, list[Any]]) -> Match:
    if body["op"] not in ("==", "!=", "in"):
        return Match("comparison")
    return Match(_field(body["left"]), _values(body["right"], sets), body["op"] == "!=")


def _field(left: Any) -> str:
    if not isinstance(left, dict):
        return "expression"
    ((kind, body),) = left.items()
    if kind == "meta" and body.get("key") == "l4proto":
        return "l4proto"
    if kind == "meta":
        return _FIELDS.get(body.get("key"), "meta")
    if kind == "ct" and body.get("key") == "state":
        return "state"
    if kind == "payload" and body.get("field") == "dport":
        return "dport"
    return str(kind)


def _values(right: Any, sets: dict[str, list[Any]]) -> tuple[str, ...]:
    if isinstance(right, dict) and "set" in right:
        right = right["set"]
    elif isinstance(right, str) and right.startswith("@"):
        right = sets.get(right[1:], [])
    if not isinstance(right, list):
        right = [right]
    return tuple(str(each) for each in right if isinstance(each, str | int))
