"""Which events are wanted: by the fields they have."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Annotated, get_args

import msgspec

from banger.kernel.errors import UsageError
from banger.kernel.message import Event
from banger.model.events import AnyEvent

PATTERN_CHARACTERS = 200
PATTERNS = 32

Pattern = Annotated[str, msgspec.Meta(max_length=PATTERN_CHARACTERS)]
Patterns = Annotated[list[Pattern], msgspec.Meta(max_length=PATTERNS)]
Filter = dict[str, Patterns]
"""By key the patterns, with ``*`` and ``?``: one of each key's must fit."""

TYPE_KEY = "type"

_KINDS = {kind.__struct_config__.tag: kind for kind in get_args(AnyEvent)}
TYPES = tuple(sorted(_KINDS))
KEYS = (
    TYPE_KEY,
    *sorted({field for kind in _KINDS.values() for field in kind.__struct_fields__}),
)


def parse_filters(texts: Iterable[str]) -> Filter:
    """From ``KEY=PATTERN`` each. Raises `UsageError`."""
    found: Filter = {}
    for text in texts:
        key, equals, pattern = text.partition("=")
        if not equals:
            raise UsageError(f"{text!r} is no filter", hint="write it like type=vm-state")
        if key not in KEYS:
            raise UsageError(f"no event has a field {key!r}", hint=f"fields: {', '.join(KEYS)}")
        if key == TYPE_KEY and not any(fnmatchcase(kind, pattern) for kind in TYPES):
            raise UsageError(f"no event is of type {pattern!r}", hint=f"types: {', '.join(TYPES)}")
        if len(pattern) > PATTERN_CHARACTERS:
            raise UsageError(f"a filter has more than {PATTERN_CHARACTERS} characters")
        found.setdefault(key, []).append(pattern)
        if len(found[key]) > PATTERNS:
            raise UsageError(f"more than {PATTERNS} filters for the field {key!r}")
    return found


def fits(event: Event, wanted: Filter) -> bool:
    return all(_fits(event, key, patterns) for key, patterns in wanted.items())


def _fits(event: Event, key: str, patterns: list[str]) -> bool:
    if key == TYPE_KEY:
        value = str(event.__struct_config__.tag)
    elif key in event.__struct_fields__:
        value = _text(getattr(event, key))
    else:
        return False
    return any(fnmatchcase(value, pattern) for pattern in patterns)


def _text(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
