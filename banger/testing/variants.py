"""Other values for options, to see what a change of them does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from banger.capabilities.capability import AnyCapability
from banger.capabilities.options import declarations, field_of, with_changes
from banger.kernel.errors import UsageError
from banger.model.command import Kind, Option


def variants(
    capability: type[AnyCapability], now: Mapping[str, object]
) -> Iterator[dict[str, Any]]:
    """One field changed each time, to a value that its type and constraints allow.

    Nothing comes of a field for which no guess is legal.
    """
    for option in declarations(capability.name, capability.options):
        field = field_of(capability.name, option)
        for value in _guesses(option, now.get(field)):
            if value != now.get(field) and _is_legal(capability, now, {field: value}):
                yield {field: value}
                break


def _guesses(option: Option, now: object) -> list[object]:
    match option.kind:
        case Kind.FLAG:
            return [not now]
        case Kind.NUMBER | Kind.SECONDS:
            number = now if isinstance(now, int | float) else 0
            return [number + 1, number - 1, number * 2, 1]
        case Kind.CHOICE:
            return list(option.choices)
    text = ["other", "10.9.8.7", "1", ""]
    return [[], *([word] for word in text)] if option.many else list(text)


def _is_legal(
    capability: type[AnyCapability], now: Mapping[str, object], change: Mapping[str, object]
) -> bool:
    try:
        before = msgspec.convert(dict(now), capability.options)
        with_changes(capability.name, before, change, capability.options)
    except (UsageError, msgspec.ValidationError):
        return False
    return True
