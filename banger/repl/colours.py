"""The line as it is typed, in colours: what is known, and what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.lexers import Lexer

import banger.cli.tree as tree
from banger.cli.complete import Names, argument_at, complete, locate
from banger.cli.plugins import Plugins
from banger.cli.words import Word, words_of
from banger.kernel.errors import BangerError, UsageError
from banger.model.command import Completion
from banger.repl.line import BACKGROUND, HOST, OWN, QUESTION, read

COMMAND, OPTION, VM, TEXT = "class:command", "class:option", "class:vm", ""
QUOTED, HOST_STYLE, COMMENT = "class:quoted", "class:host", "class:comment"
OPERATOR, WRONG = "class:operator", "class:wrong"


class Reader:
    """Reads the line anew at each key; knows what the shell knows."""

    def __init__(
        self,
        plugins: Plugins,
        names: Names,
        vms: Callable[[], Collection[str]],
        default: Callable[[], str | None],
    ) -> None:
        self._plugins = plugins
        self._names = names
        self._vms = vms
        self._default = default

    def mistake(self, line: str) -> UsageError | None:
        """What is wrong with one of its words, as far as it has been typed."""
        words = words_of(line)
        if not words or words[-1].open or line.lstrip().startswith(HOST):
            return None
        try:
            read(line, self._plugins, self._vms(), self._default())
        except UsageError as error:
            if error.word is None or error.word >= len(words):
                return None
            if error.word == len(words) - 1 and self._may_become(words, line):
                return None
            return error
        except BangerError:
            return None
        return self._unknown_vm(words, line)

    def coloured(self, line: str) -> StyleAndTextTuples:
        """The whole line in pieces."""
        if line.lstrip().startswith(HOST):
            return [(HOST_STYLE, line)]
        words = words_of(line)
        error = self.mistake(line)
        wrong = error.word if error is not None else None
        styles = self._styles([word.text for word in words])
        pieces: StyleAndTextTuples = []
        at = 0
        for number, (word, style) in enumerate(zip(words, styles, strict=True)):
            pieces.append((TEXT, line[at : word.start]))
            text = line[word.start : word.end]
            if number == wrong:
                style = WRONG
            elif style == TEXT and text[:1] in "'\"":
                style = QUOTED
            pieces.append((style, text))
            at = word.end
        pieces.append((COMMENT, line[at:]))
        return pieces

    def _styles(self, words: Sequence[str]) -> list[str]:
        if words and words[0] in OWN:
            known = self._vms()
            return [COMMAND, *(VM if word in known else TEXT for word in words[1:])]
        try:
            _, depth = tree.find(list(words), self._plugins)
        except tree.Group as group:
            depth = len(group.path)
        except UsageError as error:
            depth = error.word or 0
        except BangerError:
            depth = 0
        return [COMMAND] * depth + [self._style(word) for word in words[depth:]]

    def _style(self, word: str) -> str:
        if word in (BACKGROUND, QUESTION):
            return OPERATOR
        if word.startswith("-"):
            return OPTION
        return VM if word in self._vms() else TEXT

    def _may_become(self, words: Sequence[Word], line: str) -> bool:
        """Whether the last word is still being typed, and could become a right one."""
        if line[-1:].isspace():
            return False
        before, last = [word.text for word in words[:-1]], words[-1].text
        if not before and any(name.startswith(last) for name in (*OWN, *self._vms())):
            return True
        return bool(complete(before, last, self._plugins, self._names))

    def _unknown_vm(self, words: Sequence[Word], line: str) -> UsageError | None:
        """A VM that is to be there, and is not."""
        vms = self._vms()
        texts = [word.text for word in words]
        try:
            command, depth = tree.find(texts, self._plugins)
        except BangerError:
            return None
        for number in range(depth, len(texts)):
            text = texts[number]
            position = locate(command, texts[depth:number], self._plugins)
            if position.value_of is not None or position.behind_dashes or text.startswith("-"):
                continue
            argument = argument_at(position)
            if argument is None or argument.completion is not Completion.VM:
                continue
            if command.dashes_split and "--" not in texts and position.arguments:
                break
            typing = number == len(texts) - 1 and not line[-1:].isspace()
            there = any(vm.startswith(text) if typing else vm == text for vm in vms)
            if not there and not any(char in text for char in "*?[&"):
                return UsageError(f"there is no VM {text!r}", word=number)
        return None


class LineLexer(Lexer):
    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def lex_document(self, document: Document) -> Callable[[int], StyleAndTextTuples]:
        lines = document.lines

        def coloured(number: int) -> StyleAndTextTuples:
            return self._reader.coloured(lines[number]) if number < len(lines) else []

        return coloured
