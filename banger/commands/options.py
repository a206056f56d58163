"""Options of capabilities, for people."""

from __future__ import annotations

from typing import Any

import msgspec

from banger.model.text import TEXT_LIMIT, printable
from banger.model.vm import OptionValues


def show_options(options: OptionValues) -> list[tuple[str, str]]:
    """A line for each capability: its name and what was chosen."""
    return [(name, show_fields(fields)) for name, fields in sorted(options.items())]


def show_fields(fields: dict[str, Any]) -> str:
    text = ", ".join(f"{field}={_value(value)}" for field, value in fields.items())
    return printable(text, limit=TEXT_LIMIT)


def _value(value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case list() if all(isinstance(item, str | int) for item in value):
            return " ".join(map(str, value)) or "none"
        case str():
            return value or "''"
        case _:
            return msgspec.json.encode(value).decode()
