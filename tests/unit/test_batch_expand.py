"""From statements to a plan: variables, ``each``, ``parallel``, ``include``."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings

from banger.batch.expand import STEPS_MAX, expand
from banger.batch.json_path import look_up, parse_path
from banger.batch.load import Script, load
from banger.batch.plan import Fork, Late, Plan, orders
from banger.batch.problems import Problems, TooMany
from banger.batch.tree import Statements
from banger.kernel.errors import UsageError
from tests.unit.batch_trees import trees


def planned(directory: Path, text: str, *arguments: str, **environ: str) -> tuple[Plan, list[str]]:
    (directory / "t.bgr").write_text(text)
    problems = Problems()
    plan = _plan(load(str(directory / "t.bgr"), problems), arguments, environ, problems)
    return plan, [
        f"{Path(p.at.file).name}:{p.at.line}:{p.at.column}: {p.message}" for p in problems
    ]


def _plan(
    script: Script, arguments: tuple[str, ...], environ: Mapping[str, str], problems: Problems
) -> Plan:
    try:
        return expand(script, arguments, environ, problems)
    except TooMany:
        return ()


def lines(directory: Path, text: str, *arguments: str, **environ: str) -> list[str]:
    plan, problems = planned(directory, text, *arguments, **environ)
    assert problems == []
    return [order.show() for order in orders(plan)]


def test_variables_arguments_and_environment(tmp_path: Path) -> None:
    text = 'let a = "x y"\nlet b = ${a}-${2}\nvm "${b}" ${env:HOME} $${a}\n'
    assert lines(tmp_path, text, "1st", "2nd", HOME="/root") == ['vm "x y-2nd" /root "$x y"']


def test_what_is_put_in_is_never_split_nor_read_again(tmp_path: Path) -> None:
    assert lines(tmp_path, "vm ${1} ${2} ${3}", "a b", "${x}", "--all; rm") == [
        'vm "a b" "\\${x}" "--all; rm"'
    ]


def test_each_is_written_out_and_its_variable_stays(tmp_path: Path) -> None:
    text = "each a in 1 2\neach b in x ${a}\nvm ${a}${b}\nend\nend\nvm ${a}${b}"
    assert lines(tmp_path, text) == ["vm 1x", "vm 11", "vm 2x", "vm 22", "vm 22"]


def test_branches_of_parallel(tmp_path: Path) -> None:
    text = "let n = 0\nparallel\nvm a\neach n in 1 2\nvm b ${n}\nvm c\nend\nend\nvm ${n}"
    plan, problems = planned(tmp_path, text)
    assert problems == []
    fork = plan[0]
    assert isinstance(fork, Fork)
    branches = [[order.show() for order in orders(branch)] for branch in fork.branches]
    assert branches == [["vm a"], ["vm b 1", "vm c"], ["vm b 2", "vm c"]]
    assert [order.show() for order in orders(plan[1:])] == ["vm 0"]


def test_what_a_branch_sets_stays_in_it(tmp_path: Path) -> None:
    _, problems = planned(tmp_path, "parallel\nlet a = 1\nend\nvm ${a}")
    assert problems == ["t.bgr:4:4: there is no variable 'a' here"]


def test_what_is_captured_comes_late(tmp_path: Path) -> None:
    text = "let a = capture vm list\nlet b = <${a}>\nvm ${b} y\nlet a = 2\nvm ${a}"
    plan, problems = planned(tmp_path, text)
    assert problems == []
    *_, late, early = orders(plan)
    (slot,) = (part for word in late.words for part in word.parts if isinstance(part, Late))
    assert late.fill({slot.slot: "new\nline"}) == ["vm", "<new\nline>", "y"]
    assert late.show() == "vm <${a}> y"
    assert early.fill({}) == ["vm", "2"]


def test_includes_are_relative_to_their_file(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/a.bgr").write_text("let x = 1\ninclude b.bgr\n")
    (tmp_path / "sub/b.bgr").write_text("vm ${x}\n")
    text = "include sub/a.bgr\nvm ${x}\neach x in 2 3\ninclude sub/b.bgr\nend"
    assert lines(tmp_path, text) == ["vm 1", "vm 1", "vm 2", "vm 3"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("vm ${a} ${1} ${env:NO}", [
            "t.bgr:1:4: there is no variable 'a' here",
            "t.bgr:1:9: there is no argument 1: 0 were given",
            "t.bgr:1:14: the environment has no NO",
        ]),
        ("expect --code x --match ( vm", [
            "t.bgr:1:15: --code 'x' is not a number from 0 to 255",
            "t.bgr:1:25: --match is no regular expression: missing ), unterminated subpattern "
            "at position 0",
        ]),
        ("wait 1e9", ["t.bgr:1:6: '1e9' is not a number of seconds up to 86400"]),
        ("wait --every -1 vm", ["t.bgr:1:14: '-1' is not a number of seconds up to 86400"]),
        ("let a = capture vm --json .a[", [
            "t.bgr:1:27: '.a[' is no path into a document",
        ]),
        ("include t.bgr", ["t.bgr:1:9: this file includes itself by that"]),
        ("include no.bgr", ["t.bgr:1:9: there is no file {}/no.bgr"]),
        ("include .", ["t.bgr:1:9: {} is not a regular file"]),
    ],
)  # fmt: skip
def test_mistakes(tmp_path: Path, text: str, told: list[str]) -> None:
    _, problems = planned(tmp_path, text)
    assert problems == [line.replace("{}", str(tmp_path)) for line in told]


def test_files_that_include_each_other(tmp_path: Path) -> None:
    (tmp_path / "a.bgr").write_text("include t.bgr\n")
    (tmp_path / "link.bgr").symlink_to("t.bgr")
    _, problems = planned(tmp_path, "include a.bgr\ninclude link.bgr")
    assert problems == [
        "a.bgr:1:9: this file includes itself by that",
        "t.bgr:2:9: this file includes itself by that",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "each a in 1 2 3 4 5 6 7 8 9 10\n" * 12 + "vm ${a}\n" + "end\n" * 12,
        "each a in '' '' '' '' '' '' '' ''\n" * 14 + "end\n" * 14,
        "let a = xxxxxxxx\n" + 'let a = "${a}${a}"\n' * 40,
        "let a = " + "x" * 16000 + "\nlet a = ${a}${a}${a}\n"
        "each b in " + "1 " * 4000 + "\nvm ${a}\nend\n",
        "parallel\n" + "each a in 1 2 3 4 5 6 7 8 9 10\n" * 10 + "end\n" * 11,
    ],
)
def test_huge_expansions_end_quickly(tmp_path: Path, text: str) -> None:
    begun = time.monotonic()
    _, problems = planned(tmp_path, text)
    assert problems
    assert time.monotonic() - begun < 10


def test_includes_that_multiply_end_quickly(tmp_path: Path) -> None:
    for level in range(15):
        body = f"include {level + 1}.bgr\n" * 10
        (tmp_path / f"{level}.bgr").write_text(body)
    (tmp_path / "15.bgr").write_text("vm list\n")
    _, problems = planned(tmp_path, "include 0.bgr\n")
    assert any(str(STEPS_MAX) in problem or "16" in problem for problem in problems)


@settings(max_examples=50, deadline=None)
@given(trees)
def test_any_tree_is_planned_or_told_of(tree: Statements) -> None:
    problems = Problems()
    script = Script(tree, {}, {})
    plan = _plan(script, ("a",), {}, problems)
    for order in orders(plan):
        assert order.show()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (".address", "10.0.0.2"),
        (".labels.app", "web"),
        (".labels[app.tier]", "1"),
        (".options.nat.publish[1]", "443"),
        (".options.nat", '{"publish":[80,443]}'),
        (".pid", "null"),
        (".", None),
    ],
)
def test_paths_into_documents(path: str, value: str | None) -> None:
    document = {
        "address": "10.0.0.2",
        "labels": {"app": "web", "app.tier": "1"},
        "options": {"nat": {"publish": [80, 443]}},
        "pid": None,
    }
    assert look_up(document, path) == value or (value is None and look_up(document, path))


@pytest.mark.parametrize("path", ["", "a", ".a..b", ".a[", ".a[]", ".[", "..", ".a b", ".-a"])
def test_what_is_no_path(path: str) -> None:
    with pytest.raises(UsageError):
        parse_path(path)


@pytest.mark.parametrize("path", [".b", ".a.b", ".l[2]", ".l.x", ".l[-1]", ".l[99999999999]"])
def test_what_is_not_there(path: str) -> None:
    with pytest.raises(UsageError, match="there is no"):
        look_up({"a": "x", "l": [1, 2]}, path)
