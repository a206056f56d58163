"""The batch files that stand in the docs. Each says in its first line how it is run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

TOP = Path(__file__).resolve().parents[1]
_EXAMPLE = re.compile(
    r"^```bgr\n((?:#![^\n]*\n)?# banger run (\S+) ?([^\n]*)\n.*?)^```", re.MULTILINE | re.DOTALL
)


class Example(NamedTuple):
    text: str
    name: str
    arguments: list[str]


def examples(page: str) -> list[Example]:
    """Those of a page of the docs; each must have its line."""
    text = (TOP / "docs" / page).read_text()
    found = [Example(t, name, words.split()) for t, name, words in _EXAMPLE.findall(text)]
    assert len(found) == text.count("```bgr"), "an example does not say how it is run"
    return found


def write(found: list[Example]) -> None:
    """Into the working directory."""
    for example in found:
        Path(example.name).write_text(example.text)
