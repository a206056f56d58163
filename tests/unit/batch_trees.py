"""Trees of batch files: made by hypothesis, written as text, and without their places."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from hypothesis import strategies as st

from banger.batch.problems import Place
from banger.batch.tree import (
    Capture,
    Condition,
    Defer,
    Each,
    Expect,
    Include,
    Let,
    Parallel,
    Pause,
    Run,
    Statement,
    Statements,
    Text,
    Until,
    Variable,
    Word,
)
from banger.batch.words import quoted

NOWHERE = Place("", 0, 0)
OWN_WORDS = ("let", "expect", "wait", "defer", "include", "each", "parallel", "end")

# --- as text ---


def text_of(statements: Statements, indent: str = "") -> str:
    return "".join(indent + line + "\n" for each in statements for line in _lines(each))


def _lines(statement: Statement) -> list[str]:
    match statement:
        case Run(words=words):
            return [_words(words)]
        case Let(name=name, value=value):
            return [f"let {name} = {_word(value)}"]
        case Capture(name=name, words=words, path=path):
            return [f"let {name} = capture {_words(words)}" + (f" {_word(path)}" if path else "")]
        case Expect(condition=condition, words=words):
            return [" ".join(["expect", *_flags(condition), _words(words)])]
        case Pause(seconds=seconds):
            return [f"wait {_word(seconds)}"]
        case Until():
            times = {"--timeout": statement.timeout_s, "--every": statement.every_s}
            given = [f"{flag} {_word(word)}" for flag, word in times.items() if word]
            flags = _flags(statement.condition)
            return [" ".join(["wait", *given, *flags, _words(statement.words)])]
        case Defer(words=words):
            return [f"defer {_words(words)}"]
        case Include(path=path):
            return [f"include {quoted(path)}"]
        case Each(name=name, items=items, body=body):
            return [f"each {name} in {_words(items)}", *_body(body), "end"]
        case Parallel(keep_going=keep_going, body=body):
            return ["parallel --keep-going" if keep_going else "parallel", *_body(body), "end"]


def _body(statements: Statements) -> list[str]:
    return text_of(statements, "  ").splitlines()


def _flags(condition: Condition) -> list[str]:
    flags = [f"--code {_word(condition.code)}"] if condition.code else []
    flags += [f"--output {_word(word)}" for word in condition.outputs]
    return flags + [f"--match {_word(word)}" for word in condition.matches]


def _words(words: Iterable[Word]) -> str:
    return " ".join(map(_word, words))


def _word(word: Word) -> str:
    if word.bare:
        return "".join(p.text if isinstance(p, Text) else f"${{{p.name}}}" for p in word.parts)
    parts = (_quoted(p.text) if isinstance(p, Text) else f"${{{p.name}}}" for p in word.parts)
    return '"' + "".join(parts) + '"'


def _quoted(text: str) -> str:
    for character, escape in (("\\", r"\\"), ('"', r"\""), ("$", r"\$")):
        text = text.replace(character, escape)
    return text.replace("\n", r"\n").replace("\t", r"\t")


# --- without places ---


def unplaced(value: Any) -> Any:
    """The same tree with all places the same."""
    match value:
        case Place():
            return NOWHERE
        case tuple():
            return tuple(map(unplaced, value))
        case msgspec.Struct():
            fields = {name: unplaced(getattr(value, name)) for name in value.__struct_fields__}
            return type(value)(**fields)
        case _:
            return value


# --- made by hypothesis ---

names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
_variables = st.one_of(
    names, st.integers(1, 999).map(str), names.map(lambda name: f"env:{name}")
).map(lambda name: Variable(name, NOWHERE))
_bare = st.from_regex(r"[a-z0-9./:=@-]{1,8}", fullmatch=True).map(Text)
_any_text = st.text(
    st.characters(exclude_categories=("Cc", "Cs")) | st.sampled_from("\n\t"), min_size=1
).map(Text)


def _parts(texts: st.SearchStrategy[Text], least: int) -> st.SearchStrategy[Any]:
    def separate(parts: list[Text | Variable]) -> tuple[Text | Variable, ...]:
        """No two texts side by side: read again, they are one."""
        kept: list[Text | Variable] = []
        for part in parts:
            if not (kept and isinstance(part, Text) and isinstance(kept[-1], Text)):
                kept.append(part)
        return tuple(kept)

    return st.lists(texts | _variables, min_size=least, max_size=4).map(separate)


words = st.one_of(
    _parts(_bare, 1).map(lambda parts: Word(parts, True, NOWHERE)),
    _parts(_any_text, 0).map(lambda parts: Word(parts, False, NOWHERE)),
)
_first = st.sampled_from(["vm", "image", "version"]).map(
    lambda text: Word((Text(text),), True, NOWHERE)
)
commands = st.builds(lambda first, rest: (first, *rest), _first, st.lists(words, max_size=4))
_conditions = st.builds(
    Condition,
    st.none() | words,
    st.lists(words, max_size=2).map(tuple),
    st.lists(words, max_size=2).map(tuple),
)
_numbers = st.integers(0, 99).map(lambda n: Word((Text(str(n)),), True, NOWHERE))
_json = Word((Text("--json"),), True, NOWHERE)
_path = Word((Text(".address"),), True, NOWHERE)


def _without_path(capture: Capture) -> bool:
    """Whether what was made has no word that would be read as a path."""
    return not any(word.own == "--json" for word in capture.words)


_simple: st.SearchStrategy[Statement] = st.one_of(
    st.builds(Run, st.just(NOWHERE), commands),
    st.builds(Let, st.just(NOWHERE), names, words.filter(lambda word: word.own != "capture")),
    st.builds(Capture, st.just(NOWHERE), names, commands, st.none()).filter(_without_path),
    st.builds(
        lambda name, command: Capture(NOWHERE, name, (command[0], _json), _path), names, commands
    ),
    st.builds(Expect, st.just(NOWHERE), _conditions, commands),
    st.builds(Pause, st.just(NOWHERE), _numbers),
    st.builds(Until, st.just(NOWHERE), _conditions, st.none() | words, st.none() | words, commands),
    st.builds(Defer, st.just(NOWHERE), commands),
    st.builds(Include, st.just(NOWHERE), _any_text.map(lambda text: text.text)),
)


def _blocks(inner: st.SearchStrategy[Statement]) -> st.SearchStrategy[Statement]:
    body = st.lists(inner, max_size=4).map(tuple)
    items = st.lists(words, min_size=1, max_size=3).map(tuple)
    return st.one_of(
        st.builds(Each, st.just(NOWHERE), names, items, body),
        st.builds(Parallel, st.just(NOWHERE), st.booleans(), body),
    )


trees: st.SearchStrategy[Statements] = st.lists(
    st.recursive(_simple, _blocks, max_leaves=8), max_size=5
).map(tuple)
