"""Declared commands in click: options and arguments, the word at fault, and the page of help."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from banger.cli.command import SOUGHT_WORDS, DeclaredCommand
from banger.cli.plugins import Plugins
from banger.commands.declare import Command
from banger.kernel.errors import HostNotReady, UsageError
from banger.model.command import Argument, Kind, Option
from banger.model.requests.plugins import CapabilityOption, Interface
from tests.unit.command_line import NO_PLUGINS

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
    "json": False,
    "no_progress": False,
    "debug": False,
}


def declared(
    options: tuple[Option, ...] = OPTIONS,
    arguments: tuple[Argument, ...] = (),
    plugins: Callable[[], Interface] = lambda: NO_PLUGINS,
    **more: Any,
) -> DeclaredCommand:
    command = Command(
        ("do",), "Do it.", arguments, options, run=lambda context, **parameters: None, **more
    )
    return DeclaredCommand(command, Plugins(plugins))


def parsed(
    line: str, arguments: tuple[Argument, ...] = (), *, dashes_split: bool = False
) -> dict[str, Any]:
    """Without what was not said."""
    command = declared(arguments=arguments, dashes_split=dashes_split)
    found = command.parameters(line.split(" "))
    assert found.keys() == UNSAID.keys() | {argument.name for argument in arguments}
    return {argument.name: found.pop(argument.name) for argument in arguments} | {
        name: value for name, value in found.items() if (name, value) not in UNSAID.items()
    }


def test_what_is_not_said_has_its_default() -> None:
    assert declared().parameters([]) == UNSAID


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
        ("sideways web", "invalid value for 'TO': 'sideways' is not one of 'up', 'down'", 0),
        ("up web a -a b", "got unexpected extra arguments (a b)", 2),
        ("up web -- -a", "got unexpected extra argument (-a)", 3),
    ],
)
def test_what_is_wrong(line: str, message: str, word: int | None) -> None:
    arguments = (Argument("to", "", choices=("up", "down")), *ONE)
    with pytest.raises(UsageError) as caught:
        parsed(line, arguments)
    assert (caught.value.message, caught.value.word) == (message, word)


def test_what_is_missing() -> None:
    with pytest.raises(
        UsageError,
        match=r"^missing argument 'TO'. Choose from: up, down \(see 'banger do --help'\)$",
    ):
        declared((), (Argument("to", "", choices=("up", "down")),)).parameters([])
    with pytest.raises(UsageError, match=r"^missing argument 'NAMES\.\.\.'"):
        declared((), (Argument("names", "", many=True),)).parameters(["--"])


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


def test_in_a_long_line_the_word_at_fault_is_not_looked_for() -> None:
    words = ["web"] * SOUGHT_WORDS
    arguments = (Argument("names", "", many=True),)
    for line, word in ((["-q", *words[1:]], 0), (["-q", *words], None)):
        with pytest.raises(UsageError, match="no such option '-q'") as caught:
            declared(arguments=arguments).parameters(line)
        assert caught.value.word == word


def test_options_of_plugins_are_asked_for_at_the_first_unknown_flag() -> None:
    asked: list[str] = []

    def plugins() -> Interface:
        asked.append("plugins")
        nat = Option("nat_on", ("--nat", "--all"), "", Kind.FLAG)
        ports = Option("nat_ports", ("-p",), "", many=True)
        options = [CapabilityOption("nat", "on", nat), CapabilityOption("nat", "ports", ports)]
        return Interface(options, [], [])

    def parameters(line: str) -> dict[str, Any]:
        return declared(OPTIONS, ONE, plugins, takes_options=True).parameters(line.split(" "))

    said = {"name": "web", "all": True, "options": {}}
    assert parameters("-a web") == UNSAID | said
    assert asked == []
    said = {"name": "web", "labels": ("a", "b"), "options": {"nat": {"on": True, "ports": ["1"]}}}
    assert parameters("-l a --nat -lb -p1 web") == UNSAID | said
    with pytest.raises(UsageError, match=r"^no such option '--na'; did you mean '--nat'\?"):
        parameters("--na --nope")


def test_a_page_of_help() -> None:
    long = "banger do " + "x" * 80
    options = (*OPTIONS[:4], *OPTIONS[5:], Option("as", ("--as",), "word " * 16, metavar="USER"))
    command = declared(options, ONE, details="word " * 16, examples=("banger do", long))
    assert command.page().split("\n") == [
        "Usage: banger do [OPTIONS] NAME",
        "",
        "  Do it.",
        "",
        "  word word word word word word word word word word word word word word word",
        "  word",
        "",
        "  Examples:",
        "    banger do",
        f"    {long}",
        "",
        "Arguments:",
        "  NAME",
        "",
        "Options:",
        "  -a, --all",
        "  --rm / --no-rm",
        "  -u, --user TEXT   [default: root]",
        "  --count N         [default: 8]",
        "  --way [in|out]",
        "  -l, --label TEXT",
        "  --as USER         word word word word word word word word word word word",
        "                    word word word word word",
        "  --json            Print the result as JSON, and nothing else.",
        "  --no-progress     Draw nothing live: plain lines, as into a file.",
        "  --debug           Show the traceback of an error.",
        "  --help            Show this message.",
    ]


def test_a_page_of_help_without_the_options_of_plugins() -> None:
    def plugins() -> Interface:
        raise HostNotReady("they can't be found")

    page = declared((), SPLIT, plugins, takes_options=True, dashes_split=True).page()
    assert page.startswith("Usage: banger do [OPTIONS] [NAMES...] -- [COMMAND...]\n")
    assert page.endswith("\n\nOptions of capabilities are not shown: they can't be found")
