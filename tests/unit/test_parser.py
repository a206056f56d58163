"""Words to parameters: options as getopt has them, arguments, and the word at fault."""

from __future__ import annotations

from typing import Any

import pytest

from banger.cli.parser import Parser
from banger.kernel.errors import UsageError
from banger.model.command import Argument, Kind, Option

OPTIONS = (
    Option("all", ("-a", "--all"), "", Kind.FLAG),
    Option("rm", ("--rm",), "", Kind.FLAG, off_flags=("--no-rm",)),
    Option("user", ("-u", "--user"), "", default="root"),
    Option("count", ("--count",), "", Kind.NUMBER, default=8),
    Option("wait_s", ("--wait",), "", Kind.SECONDS, default=60),
    Option("way", ("--way",), "", Kind.CHOICE, choices=("in", "out")),
    Option("labels", ("-l", "--label"), "", many=True),
    Option("fault", ("--inject-fault",), "", hidden=True),
)
ONE = (Argument("name", ""),)
SPLIT = (
    Argument("names", "", required=False, many=True),
    Argument("command", "", required=False, many=True),
)
UNSAID = {
    "all": False,
    "rm": None,
    "user": "root",
    "count": 8,
    "wait_s": 60.0,
    "way": None,
    "labels": (),
    "fault": None,
}


def parsed(
    line: str, arguments: tuple[Argument, ...] = (), *, dashes_split: bool = False
) -> dict[str, Any]:
    """Without what was not said."""
    found = Parser(OPTIONS, arguments, dashes_split=dashes_split).parse(line.split(" "))
    assert found.keys() == UNSAID.keys() | {argument.name for argument in arguments}
    return {name: value for name, value in found.items() if (name, value) not in UNSAID.items()}


def test_what_is_not_said_has_its_default() -> None:
    assert Parser(OPTIONS, ()).parse([]) == UNSAID


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("-a", {"all": True}),
        ("--all --all", {"all": True}),
        ("--rm", {"rm": True}),
        ("--rm --no-rm", {"rm": False}),
        ("--user ann", {"user": "ann"}),
        ("--user=ann", {"user": "ann"}),
        ("--user=", {"user": ""}),
        ("--user=a=b", {"user": "a=b"}),
        ("--user --all", {"user": "--all"}),
        ("--user --", {"user": "--"}),
        ("--user ann --user bob", {"user": "bob"}),
        ("-u ann", {"user": "ann"}),
        ("-uann", {"user": "ann"}),
        ("-u=ann", {"user": "=ann"}),
        ("-auann", {"all": True, "user": "ann"}),
        ("-au ann", {"all": True, "user": "ann"}),
        ("--count -1", {"count": -1}),
        ("--wait 1.5", {"wait_s": 1.5}),
        ("--way in", {"way": "in"}),
        ("-l a --label=b -lc", {"labels": ("a", "b", "c")}),
    ],
)
def test_options(line: str, said: dict[str, Any]) -> None:
    assert parsed(line) == said


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("web", {"name": "web"}),
        ("-a web", {"name": "web", "all": True}),
        ("web -a", {"name": "web", "all": True}),
        ("-- -a", {"name": "-a"}),
        ("-a -- --", {"name": "--", "all": True}),
        ("-", {"name": "-"}),
    ],
)
def test_options_between_arguments(line: str, said: dict[str, Any]) -> None:
    assert parsed(line, ONE) == said


@pytest.mark.parametrize(
    ("line", "values"),
    [("a b", ((), "a", "b")), ("a b c", (("a",), "b", "c")), ("a b c d", (("a", "b"), "c", "d"))],
)
def test_those_after_one_that_takes_many(line: str, values: tuple[object, ...]) -> None:
    arguments = (Argument("many", "", required=False, many=True), Argument("x", ""), ONE[0])
    assert tuple(parsed(line, arguments).values()) == values


@pytest.mark.parametrize(
    ("line", "names", "command"),
    [
        ("a b -- ls -l -- x", ("a", "b"), ("ls", "-l", "--", "x")),
        ("a -u ann -- ls", ("a",), ("ls",)),
        ("-- ls", (), ("ls",)),
        ("a --", ("a",), ()),
        ("a ls x", ("a",), ("ls", "x")),
        ("a", ("a",), ()),
    ],
)
def test_two_arguments_with_dashes_between(
    line: str, names: tuple[str, ...], command: tuple[str, ...]
) -> None:
    found = parsed(line, SPLIT, dashes_split=True)
    assert (found["names"], found["command"]) == (names, command)


@pytest.mark.parametrize(
    ("line", "message", "word"),
    [
        ("--user", "option '--user' requires an argument", 0),
        ("x -au", "option '-u' requires an argument", 1),
        ("--all=yes", "option '--all' does not take a value", 0),
        ("x --count many", "invalid value for '--count': 'many' is not a whole number", 2),
        ("x --count=many", "invalid value for '--count': 'many' is not a whole number", 1),
        ("--wait soon", "invalid value for '--wait': 'soon' is not a number of seconds", 1),
        ("--way up", "invalid value for '--way': 'up' is not one of 'in', 'out'", 1),
        ("up", "missing argument 'NAME'", None),
        ("sideways web", "invalid value for 'WAY': 'sideways' is not one of 'up', 'down'", 0),
        ("up web a -a b", "got unexpected extra arguments 'a', 'b'", 2),
        ("up web -- -a", "got unexpected extra argument '-a'", 3),
    ],
)
def test_what_is_wrong(line: str, message: str, word: int | None) -> None:
    arguments = (Argument("way", "", choices=("up", "down")), *ONE)
    with pytest.raises(UsageError) as caught:
        parsed(line, arguments)
    assert (caught.value.message, caught.value.word) == (message, word)


def test_what_is_missing() -> None:
    with pytest.raises(UsageError, match=r"^missing argument 'WAY', one of 'up', 'down'$"):
        Parser((), (Argument("way", "", choices=("up", "down")),)).parse([])
    with pytest.raises(UsageError, match=r"^missing argument 'NAMES\.\.\.'$"):
        Parser((), (Argument("names", "", many=True),)).parse(["--"])


@pytest.mark.parametrize(
    ("line", "message", "word"),
    [
        ("--usr x", "no such option '--usr'; did you mean '--user'?", 0),
        ("x --usr=x", "no such option '--usr'; did you mean '--user'?", 1),
        ("--inject-falt", "no such option '--inject-falt'", 0),
        ("x -aq", "no such option '-q'", 1),
        ("-1", "no such option '-1'", 0),
    ],
)
def test_flags_that_are_unknown(line: str, message: str, word: int) -> None:
    with pytest.raises(UsageError) as caught:
        parsed(line)
    assert (caught.value.message, caught.value.word) == (message, word)


def test_more_options_are_asked_for_at_the_first_unknown_flag() -> None:
    asked: list[str] = []

    def more() -> list[Option]:
        asked.append("more")
        return [Option("nat", ("--nat", "--all"), "", Kind.FLAG), Option("port", ("-p",), "")]

    assert Parser(OPTIONS, (), more=more).parse(["-a"]) == UNSAID | {"all": True}
    assert asked == []
    found = Parser(OPTIONS, ONE, more=more).parse("-l a --nat -lb web".split())
    assert found == UNSAID | {"labels": ("a", "b"), "nat": True, "port": None, "name": "web"}
    assert asked == ["more"]
    with pytest.raises(UsageError, match=r"^no such option '--na'; did you mean '--nat'\?$"):
        Parser(OPTIONS, ONE, more=more).parse(["--na", "--nope"])
    assert asked == ["more", "more"]
