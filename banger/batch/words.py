"""From lines to words: quotes, ``\\``, comments, variables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NoReturn

from banger.batch.problems import Place, Problems
from banger.batch.tree import Text, Variable, Word, Words

WORDS_MAX = 4096
"""Of one statement."""

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)
_VARIABLE = re.compile(r"\$\{([^}\s]*)\}")
_VARIABLE_NAME = re.compile(rf"{NAME.pattern}|[1-9][0-9]{{0,2}}|env:{NAME.pattern}", re.ASCII)
_PLAIN = re.compile(r"[^ \t'\"\\$]+")
_PLAIN_QUOTED = re.compile(r"[^\"\\$]+")
_ESCAPES = {"n": "\n", "t": "\t", '"': '"', "\\": "\\", "$": "$"}
_BLANK = " \t"


class Malformed(Exception):
    """This statement can't be read; the problem is told already."""


class Lines:
    """Reads the statements of a file, one after another."""

    def __init__(self, file: str, lines: Sequence[str], problems: Problems) -> None:
        self._file = file
        self._lines = lines
        self._problems = problems
        self._number = 0
        self._column = 0

    def statements(self) -> Iterator[Words]:
        """The words of each statement. One that is malformed is left out, its problem told."""
        while self._number < len(self._lines):
            try:
                words = self._statement()
            except Malformed:
                words = ()
            self._number += 1
            self._column = 0
            if words:
                yield words

    def end(self) -> Place:
        return Place(self._file, max(1, len(self._lines)), 1)

    # --- one statement ---

    def _statement(self) -> Words:
        words: list[Word] = []
        while self._to_next_word():
            if len(words) == WORDS_MAX:
                self._fail(self._here(), f"a command has more than {WORDS_MAX} words")
            words.append(self._word())
        return tuple(words)

    def _to_next_word(self) -> bool:
        while True:
            rest = self._rest
            stripped = rest.lstrip(_BLANK)
            self._column += len(rest) - len(stripped)
            if stripped != "\\":
                return bool(stripped) and not stripped.startswith("#")
            self._continue()

    def _word(self) -> Word:
        begun = self._here()
        parts: list[Text | Variable] = []
        bare = True
        while (rest := self._rest) and rest[0] not in _BLANK:
            match rest[0]:
                case "'":
                    bare = False
                    end = rest.find("'", 1)
                    if end < 0:
                        self._fail(self._here(), "this quote is not closed on its line")
                    parts.append(Text(rest[1:end]))
                    self._column += end + 1
                case '"':
                    bare = False
                    parts += self._quoted()
                case "\\" if rest == "\\":
                    self._continue()
                case "\\":
                    bare = False
                    parts.append(Text(rest[1]))
                    self._column += 2
                case "$":
                    parts.append(self._dollar())
                case _:
                    parts.append(self._run_of(_PLAIN))
        width = self._column - begun.column + 1 if self._number + 1 == begun.line else 1
        at = Place(begun.file, begun.line, begun.column, max(1, width))
        return Word(_joined(parts), bare, at)

    def _quoted(self) -> list[Text | Variable]:
        opened = self._here()
        parts: list[Text | Variable] = []
        self._column += 1
        while True:
            rest = self._rest
            match rest[:1]:
                case "":
                    self._fail(opened, "this quote is not closed on its line")
                case '"':
                    self._column += 1
                    return parts
                case "\\" if rest == "\\":
                    self._continue()
                case "\\":
                    if rest[1] not in _ESCAPES:
                        self._fail(
                            self._here(2),
                            f"there is no escape {rest[:2]!s} in double quotes",
                            r"those there are: \" \\ \$ \n \t; single quotes take all as it is",
                        )
                    parts.append(Text(_ESCAPES[rest[1]]))
                    self._column += 2
                case "$":
                    parts.append(self._dollar())
                case _:
                    parts.append(self._run_of(_PLAIN_QUOTED))

    def _dollar(self) -> Text | Variable:
        rest = self._rest
        if not rest.startswith("${"):
            self._column += 1
            return Text("$")
        found = _VARIABLE.match(rest)
        if found is None:
            self._fail(self._here(2), "this '${' has no '}'", "a plain one is written '\\${'")
        if not _VARIABLE_NAME.fullmatch(found[1]):
            self._fail(
                self._here(len(found[0])),
                f"{found[0][:80]!r} is no variable",
                "those are ${name}, ${1} and ${env:NAME}; a plain '${' is written '\\${'",
            )
        variable = Variable(found[1], self._here(len(found[0])))
        self._column += len(found[0])
        return variable

    def _run_of(self, pattern: re.Pattern[str]) -> Text:
        found = pattern.match(self._lines[self._number], self._column)
        assert found is not None
        self._column = found.end()
        return Text(found[0])

    # --- where we are ---

    @property
    def _rest(self) -> str:
        return self._lines[self._number][self._column :]

    def _here(self, width: int = 1) -> Place:
        return Place(self._file, self._number + 1, self._column + 1, width)

    def _continue(self) -> None:
        """After the ``\\`` at the end of a line."""
        if self._number + 1 == len(self._lines):
            self._fail(self._here(), "after this '\\' the line should go on, but the file ends")
        self._number += 1
        self._column = 0

    def _fail(self, at: Place, message: str, hint: str = "") -> NoReturn:
        self._problems.add(at, message, hint)
        raise Malformed


def _joined(parts: Sequence[Text | Variable]) -> tuple[Text | Variable, ...]:
    """Texts side by side as one; none that is empty."""
    joined: list[Text | Variable] = []
    for part in parts:
        if isinstance(part, Text) and joined and isinstance(last := joined[-1], Text):
            joined[-1] = Text(last.text + part.text)
        elif part != Text(""):
            joined.append(part)
    return tuple(joined)


def quoted(word: str) -> str:
    """A word as it can be written in a file."""
    if word and re.fullmatch(r"[^\s'\"\\$#]+", word):
        return word
    for character, escape in (("\\", r"\\"), ('"', r"\""), ("\n", r"\n"), ("\t", r"\t")):
        word = word.replace(character, escape)
    return '"' + word.replace("${", r"\${") + '"'
