"""A line into words, as a shell does it, also while it is still being typed."""

from __future__ import annotations

import re
import shlex

import msgspec

from banger.kernel.errors import UsageError

_PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./\[\]?*~^-]+")


class Word(msgspec.Struct, frozen=True):
    """``text`` is what it means, ``start`` and ``end`` where it stands in the line.

    ``open`` is the quote that was not closed: ``'``, ``"`` or a backslash.
    """

    text: str
    start: int
    end: int
    open: str = ""


def words_of(line: str) -> list[Word]:
    """Quotes, double quotes and backslashes are a shell's; ``#`` before a word begins a comment."""
    found: list[Word] = []
    at = 0
    while at < len(line):
        if line[at].isspace():
            at += 1
        elif line[at] == "#":
            break
        else:
            word = _word(line, at)
            found.append(word)
            at = word.end
    return found


def split(line: str) -> list[str]:
    """The words of a whole line. Raises `UsageError` when a quote is open."""
    words = words_of(line)
    for number, word in enumerate(words):
        if word.open:
            raise UsageError(f"{word.open} is not closed", word=number)
    return [word.text for word in words]


def quoted(text: str) -> str:
    """The word as it can be typed."""
    return text if _PLAIN.fullmatch(text) else shlex.quote(text)


def _word(line: str, start: int) -> Word:
    text: list[str] = []
    quote = ""
    at = start
    while at < len(line):
        char = line[at]
        if quote == "'":
            if char == "'":
                quote = ""
            else:
                text.append(char)
        elif char == "\\":
            if at + 1 == len(line):
                return Word("".join(text), start, at + 1, quote or "\\")
            following = line[at + 1]
            if quote and following not in '"\\$`':
                text.append("\\")
            text.append(following)
            at += 1
        elif quote:
            if char == quote:
                quote = ""
            else:
                text.append(char)
        elif char in "'\"":
            quote = char
        elif char.isspace():
            break
        else:
            text.append(char)
        at += 1
    return Word("".join(text), start, at, quote)
