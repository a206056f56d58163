"""A file as it was written: words and statements, each with its place."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from banger.batch.problems import Place


class Text(msgspec.Struct, frozen=True):
    text: str


class Variable(msgspec.Struct, frozen=True):
    """``${name}``, ``${1}`` or ``${env:NAME}``."""

    name: str
    at: Place


class Word(msgspec.Struct, frozen=True):
    """``bare``: neither quotes nor ``\\`` are in it. Only such a word can be a word of the
    language's own."""

    parts: tuple[Text | Variable, ...]
    bare: bool
    at: Place

    @property
    def own(self) -> str:
        """The text of a bare word without variables, else ""."""
        texts = [part.text for part in self.parts if isinstance(part, Text)]
        return "".join(texts) if self.bare and len(texts) == len(self.parts) else ""

    @property
    def literal(self) -> str | None:
        """Its text, unless there are variables in it."""
        texts = [part.text for part in self.parts if isinstance(part, Text)]
        return "".join(texts) if len(texts) == len(self.parts) else None


Words = tuple[Word, ...]


class Run(msgspec.Struct, frozen=True):
    """A command."""

    at: Place
    words: Words


class Let(msgspec.Struct, frozen=True):
    at: Place
    name: str
    value: Word


class Capture(msgspec.Struct, frozen=True):
    """``path`` chooses from the command's document; None: all of its output."""

    at: Place
    name: str
    words: Words
    path: Word | None


class Condition(msgspec.Struct, frozen=True):
    """What a command must come to. ``code`` None is 0."""

    code: Word | None = None
    outputs: Words = ()
    matches: Words = ()


class Expect(msgspec.Struct, frozen=True):
    at: Place
    condition: Condition
    words: Words


class Pause(msgspec.Struct, frozen=True):
    at: Place
    seconds: Word


class Until(msgspec.Struct, frozen=True):
    """``wait COMMAND``: again and again until it fulfils the condition."""

    at: Place
    condition: Condition
    timeout_s: Word | None
    every_s: Word | None
    words: Words


class Defer(msgspec.Struct, frozen=True):
    at: Place
    words: Words


class Include(msgspec.Struct, frozen=True):
    at: Place
    path: str
    """As written; relative to the directory of the file it stands in."""


class Each(msgspec.Struct, frozen=True):
    at: Place
    name: str
    items: Words
    body: Statements


class Parallel(msgspec.Struct, frozen=True):
    at: Place
    keep_going: bool
    body: Statements


Statement: TypeAlias = (
    Run | Let | Capture | Expect | Pause | Until | Defer | Include | Each | Parallel
)
Statements = tuple[Statement, ...]
