"""A path into a JSON document: ``.address``, ``.labels[app.tier]``, ``[0].name``.

``.name`` is a field and ``[N]`` an item, from 0; ``[name]`` is a field of any name.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from banger.kernel.errors import UsageError

_PATH = re.compile(r"\.|(?:\.?(?:[A-Za-z_][A-Za-z0-9_-]*|\[[^\]]+\]))+")
_STEP = re.compile(r"\.?(?:(?P<field>[A-Za-z_][A-Za-z0-9_-]*)|\[(?P<key>[^\]]+)\])")


def parse_path(path: str) -> list[str]:
    """The fields and numbers, from the outside in. Raises `UsageError`."""
    if not path.startswith(".") or not _PATH.fullmatch(path):
        raise UsageError(
            f"{path[:80]!r} is no path into a document",
            hint="written like .address, .labels[app] or .[0].name",
        )
    return [step["field"] or step["key"] for step in _STEP.finditer(path)]


def look_up(document: Any, path: str) -> str:
    """What is there: a text as it is, all else as JSON. Raises `UsageError` when nothing is."""
    here, found = "", document
    for key in parse_path(path):
        match found:
            case dict() if key in found:
                found = found[key]
            case list() if key.isdecimal() and len(key) < 10 and int(key) < len(found):
                found = found[int(key)]
            case _:
                raise UsageError(
                    f"there is no {key!r} in {here or 'the document'}", hint=_in(found)
                )
        here += f".{key}"
    return found if isinstance(found, str) else msgspec.json.encode(found).decode()


def _in(found: Any) -> str:
    match found:
        case dict():
            fields = ", ".join(sorted(map(str, found))[:30])
            return f"its fields: {fields}" if fields else "it is empty"
        case list():
            return f"it is a list of {len(found)}"
        case _:
            return "it has no parts"
