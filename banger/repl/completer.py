"""Completion in the shell's prompt."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

import banger.cli.complete as cli
from banger.cli.plugins import Plugins
from banger.cli.words import quoted, words_of
from banger.commands import declare
from banger.repl.line import HOST, OWN

HELP_WIDTH = 60


class LineCompleter(Completer):
    def __init__(self, plugins: Plugins, names: cli.Names) -> None:
        self._plugins = plugins
        self._names = names

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        before = document.current_line_before_cursor
        for candidate, start in self.candidates(before):
            yield Completion(
                quoted(candidate.text) + " " * candidate.whole,
                start_position=start - len(before),
                display=candidate.text,
                display_meta=candidate.help[:HELP_WIDTH],
            )

    def candidates(self, before: str) -> Iterator[tuple[cli.Candidate, int]]:
        """Each with the place in the line where it would begin."""
        if before.lstrip().startswith(HOST):
            words = words_of(before)
            if len(words) > 1 or (words and words[-1].end < len(before)):
                word, start = _last(before)
                yield from ((found, start) for found in cli.files(word))
            return
        word, start = _last(before)
        words_before = [w.text for w in words_of(before[:start])]
        if words_before[:1] == ["banger"]:
            words_before.pop(0)
        for candidate in self._offered(words_before, word):
            yield candidate, start

    def _offered(self, words: list[str], word: str) -> Iterator[cli.Candidate]:
        if words and words[0] in OWN:
            yield from self._of_own(OWN[words[0]], words[1:], word)
            return
        if not words:
            for name, command in OWN.items():
                if name.startswith(word):
                    yield cli.Candidate(name, command.summary)
        yield from cli.complete(words, word, self._plugins, self._names)

    def _of_own(
        self, command: declare.Command, given: Sequence[str], word: str
    ) -> Iterator[cli.Candidate]:
        if len(given) < len(command.arguments):
            for found in self._names.named(command.arguments[len(given)].completion):
                if found.text.startswith(word):
                    yield found


def _last(before: str) -> tuple[str, int]:
    """The word at the end, maybe "", and where it begins."""
    words = words_of(before)
    if not words or words[-1].end < len(before) or before[-1:].isspace():
        return "", len(before)
    return words[-1].text, words[-1].start
