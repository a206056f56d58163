"""The language of batch files: words, statements, and what is said of mistakes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from banger.batch.grammar import DEPTH_MAX, parse
from banger.batch.problems import Problems, TooMany, show
from banger.batch.tree import Capture, Run, Statements, Text, Until, Variable
from banger.batch.words import quoted
from tests.unit.batch_trees import text_of, trees, unplaced


def read(text: str) -> Statements:
    problems = Problems()
    statements = parse("t.bgr", text.split("\n"), problems)
    assert list(map(str, problems)) == []
    return statements


def complaints(text: str) -> list[str]:
    problems = Problems()
    parse("t.bgr", text.split("\n"), problems)
    return [f"{p.at.line}:{p.at.column}: {p.message}" for p in problems]


def words_of(line: str) -> list[str | None]:
    (statement,) = read(line)
    assert isinstance(statement, Run)
    return [word.literal for word in statement.words]


@settings(max_examples=50)
@given(trees)
def test_a_tree_written_as_text_is_read_as_the_same_tree(tree: Statements) -> None:
    assert unplaced(read(text_of(tree))) == tree


@given(st.text())
def test_any_text_is_read_without_an_exception(text: str) -> None:
    problems = Problems()
    lines = text.split("\n")
    parse("t.bgr", lines, problems)
    for line in show(problems, {"t.bgr": lines}):
        assert "\n" not in line


_own = "let each in = parallel end expect wait defer include capture --code --json .a".split()
_marks = [
    " ",
    "\n",
    "\\\n",
    "\t",
    "$",
    "${",
    "${a}",
    "${env:X}",
    '"',
    "'",
    "\\",
    "#",
    "a",
    "3",
    "vm",
]
_pieces = st.sampled_from([*_own, *_marks])


@given(st.lists(_pieces, max_size=40))
def test_pieces_of_the_language_in_any_order_raise_nothing(pieces: list[str]) -> None:
    parse("t.bgr", " ".join(pieces).split("\n"), Problems())


@given(st.text(st.characters(exclude_categories=("Cc", "Cs")) | st.sampled_from("\n\t")))
def test_a_quoted_word_is_read_as_itself(word: str) -> None:
    assert words_of(f"vm {quoted(word)}") == ["vm", word]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("vm  list\t--json # all", ["vm", "list", "--json"]),
        ("vm a#b", ["vm", "a#b"]),
        ("vm 'a b' \"c d\" e' 'f", ["vm", "a b", "c d", "e f"]),
        (r"vm a\ b \# \'", ["vm", "a b", "#", "'"]),
        (r'vm "a\"b\\c\$d\n"', ["vm", 'a"b\\c$d\n']),
        (r"vm '${a} \n'", ["vm", r"${a} \n"]),
        ("vm $HOME $ a$", ["vm", "$HOME", "$", "a$"]),
        (r"vm \${a}", ["vm", "${a}"]),
        ("vm ''", ["vm", ""]),
        ("vm \\\n  list \\\n", ["vm", "list"]),
        ("vm li\\\nst", ["vm", "list"]),
        ('vm "a \\\nb"', ["vm", "a b"]),
        ("#!/usr/bin/env -S banger run\nvm list", ["vm", "list"]),
        ("# a comment does not go on \\\nvm list", ["vm", "list"]),
    ],
)
def test_words(line: str, words: list[str]) -> None:
    assert words_of(line) == words


def test_variables_stand_within_words() -> None:
    (statement,) = read('vm web-${n}.vm "${a} ${env:HOME}" ${1}')
    assert isinstance(statement, Run)
    parts = [[getattr(p, "text", getattr(p, "name", "")) for p in w.parts] for w in statement.words]
    assert parts == [["vm"], ["web-", "n", ".vm"], ["a", " ", "env:HOME"], ["1"]]
    assert isinstance(statement.words[1].parts[1], Variable)
    assert isinstance(statement.words[1].parts[0], Text)


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ("let a = capture vm show web --json .address", ".address"),
        ("let a = capture vm exec web --json -- ls .stdout", ".stdout"),
        ("let a = capture vm exec web -- ls .", None),
        ("let a = capture vm exec web -- ls --json .", None),
        ("let a = capture vm exec web --json -- ls '.'", None),
    ],
)
def test_a_path_ends_a_capture_of_json_only(line: str, path: str | None) -> None:
    (statement,) = read(line)
    assert isinstance(statement, Capture)
    assert (statement.path and statement.path.literal) == path


def test_wait_takes_seconds_or_a_command() -> None:
    commands = read("wait 3\nwait ${n}\nwait doctor\nwait --timeout 3 vm show a")
    assert [type(each).__name__ for each in commands] == ["Pause", "Pause", "Until", "Until"]
    until = commands[-1]
    assert isinstance(until, Until) and until.timeout_s and until.timeout_s.literal == "3"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("vm 'a", ["1:4: this quote is not closed on its line"]),
        ('vm "a\nvm list', ["1:4: this quote is not closed on its line"]),
        ("vm ${a", ["1:4: this '${' has no '}'"]),
        ("vm ${a-b}", ["1:4: '${a-b}' is no variable"]),
        (r'vm "\q"', [r"1:5: there is no escape \q in double quotes"]),
        ("vm \\", ["1:4: after this '\\' the line should go on, but the file ends"]),
        ("let a=3", ["1:5: this is not the form of 'let'"]),
        ("let 3 = 3", ["1:5: '3' is no name of a variable"]),
        ("let a = b c", ["1:11: 'let' takes one value"]),
        ("let a = capture", ["1:9: a command is missing behind 'capture'"]),
        ("expect --code 3", ["1:1: a command is missing behind 'expect'"]),
        ("expect --cod 3 vm list", ["1:8: 'expect' has no option --cod"]),
        ("expect --code", ["1:8: --code needs a value"]),
        ("wait --timeout 1 --timeout 2 doctor", ["1:28: --timeout is given twice"]),
        ("defer", ["1:1: a command is missing behind 'defer'"]),
        ("include ${a}", ["1:9: an included path has no variables and is not empty"]),
        ("each a of b\nend", ["1:6: this is not the form of 'each'"]),
        ("each a in\nend", ["1:8: there is no value for 'each' to take"]),
        ("parallel vm\nend", ["1:10: this can't stand behind 'parallel'"]),
        ("parallel", ["1:1: this 'parallel' has no 'end'"]),
        ("end", ["1:1: this 'end' closes no block"]),
        ("parallel\nend now", ["2:5: nothing can stand behind 'end'"]),
        ("end\nvm 'a\nlet", [
            "1:1: this 'end' closes no block",
            "2:4: this quote is not closed on its line",
            "3:1: this is not the form of 'let'",
        ]),
    ],
)  # fmt: skip
def test_mistakes_are_told_with_their_place(text: str, told: list[str]) -> None:
    assert complaints(text) == told


def test_blocks_can_be_nested_only_so_deep() -> None:
    deep = "parallel\n" * DEPTH_MAX + "end\n" * DEPTH_MAX
    assert complaints(deep) == []
    with pytest.raises(TooMany):
        complaints("parallel\n" * 100_000)


def test_a_long_line_is_shown_around_its_mark() -> None:
    line = "vm " + "x" * 5000 + " 'a"
    problems = Problems()
    parse("t.bgr", [line], problems)
    told = show(problems, {"t.bgr": [line]})
    assert max(map(len, told)) < 200
    assert told[1][told[2].index("^")] == "'"
