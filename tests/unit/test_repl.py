"""The shell's parts without a terminal: lines, colours, completion, stages, toolbar."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

from banger.bench.repl import keys_ms
from banger.cli.names import of_vms
from banger.cli.plugins import Plugins
from banger.commands.session import Session
from banger.kernel.errors import BangerError, Conflict, UsageError
from banger.model.command import Completion
from banger.model.events import Recorded, VmGone, VmStateChanged
from banger.model.requests.events import ReadEvents
from banger.model.requests.images import ListImages
from banger.model.requests.plugins import GetInterface, ListPlugins
from banger.model.requests.vms import ListVms, ShowVm
from banger.model.vm import VmState
from banger.repl.colours import COMMAND, OPTION, VM, WRONG, Reader
from banger.repl.completer import LineCompleter
from banger.repl.fleet import Fleet
from banger.repl.jobs import Job, Jobs, failure
from banger.repl.line import HostCommand, OwnCommand, Started, read, targeted
from banger.repl.screen import prompt, toolbar
from tests.unit.command_line import NO_PLUGINS, view
from tests.unit.fake_daemon import serving
from tests.unit.test_cli_plugins import INTERFACE

pytestmark = pytest.mark.usefixtures("home")

VMS = {name: view(name) for name in ("web-1", "web-2", "db")}
PLUGINS = Plugins(lambda: INTERFACE)


class There:
    def named(self, kind: Completion) -> Any:
        return list(of_vms(list(VMS.values()), kind))


def asked(line: str, default: str | None = None) -> Any:
    return read(line, PLUGINS, VMS, default)


# --- lines ---


@pytest.mark.parametrize("line", ["", "  ", "# remark", "&", "banger"])
def test_lines_that_ask_for_nothing(line: str) -> None:
    assert asked(line) is None


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("!ls -l | wc", HostCommand("ls -l | wc")),
        ("!", HostCommand("")),
        ("use web-1", OwnCommand("use", ("web-1",))),
        ("web-1", OwnCommand("use", ("web-1",))),
        ("use", OwnCommand("use", ())),
        ("jobs", OwnCommand("jobs", ())),
        ("fg 2", OwnCommand("fg", ("2",))),
        ("quit", OwnCommand("exit", ())),
    ],
)
def test_what_only_the_shell_knows(line: str, wanted: object) -> None:
    assert asked(line) == wanted


@pytest.mark.parametrize(
    ("line", "words", "background"),
    [
        ("vm list", "vm list", False),
        ("banger vm list", "vm list", False),
        ("vm create a &", "vm create a", True),
        ("vm create a&", "vm create a", True),
        ("vm create 'a'  # why", "vm create a", False),
    ],
)
def test_commands(line: str, words: str, background: bool) -> None:
    found = asked(line)
    assert isinstance(found, Started)
    assert (found.invocation.words, found.background) == (tuple(words.split()), background)


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ("?", ()),
        ("vm ?", ("vm",)),
        ("vm create ?", ("vm", "create")),
        ("vm create a ?", ("vm", "create")),
    ],
)
def test_a_question_mark_asks_for_help(line: str, path: tuple[str, ...]) -> None:
    found = asked(line)
    assert found.invocation.command.path == ("help",)
    assert found.invocation.parameters == {"words": path}


@pytest.mark.parametrize(
    ("line", "with_default"),
    [
        ("vm show", "vm show db"),
        ("vm show --json", "vm show db --json"),
        ("vm show web-1", "vm show web-1"),
        ("vm ssh", "vm ssh db"),
        ("vm stop --force", "vm stop db --force"),
        ("vm stop --all", "vm stop --all"),
        ("vm delete --label a=b", "vm delete --label a=b"),
        ("vm exec -- ls", "vm exec db -- ls"),
        ("vm exec web-1 -- ls", "vm exec web-1 -- ls"),
        ("vm exec -u root -- ls", "vm exec db -u root -- ls"),
        ("vm list", "vm list"),
        ("vm create", "vm create"),
        ("image show", "image show"),
        ("vm show --help", "vm show --help"),
    ],
)
def test_the_default_vm(line: str, with_default: str) -> None:
    assert targeted(line.split(), PLUGINS, "db") == with_default.split()
    assert targeted(line.split(), PLUGINS, None) == line.split()


@pytest.mark.parametrize(
    "line", ["vm lst", "use a b", "jobs 1", "'open", "job", "vm create --nonsense"]
)
def test_wrong_lines(line: str) -> None:
    with pytest.raises(UsageError):
        asked(line)


def test_own_commands_are_suggested() -> None:
    with pytest.raises(UsageError, match="'jobs'"):
        asked("jbs")


# --- colours ---

READER = Reader(PLUGINS, There(), lambda: VMS, lambda: None)


def coloured(line: str) -> dict[str, str]:
    pieces = READER.coloured(line)
    assert "".join(piece[1] for piece in pieces) == line
    return {piece[1]: piece[0] for piece in pieces}


def test_known_words_have_colours() -> None:
    found = coloured("vm show web-1 --json")
    assert found == found | {"vm": COMMAND, "show": COMMAND, "web-1": VM, "--json": OPTION}


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("nonsense ", "nonsense"),
        ("nonsense", "nonsense"),
        ("vm lst ", "lst"),
        ("vm create --nonsense ", "--nonsense"),
        ("vm create --vcpus two ", "two"),
        ("vm wait db --for godot", "godot"),
        ("vm show nosuch", "nosuch"),
        ("vm delete web-1 nosuch", "nosuch"),
        ("use a b", "b"),
    ],
)
def test_mistakes_are_marked_before_enter(line: str, wrong: str) -> None:
    assert coloured(line)[wrong] == WRONG
    assert READER.mistake(line) is not None


@pytest.mark.parametrize(
    "line",
    [
        "",
        "v",
        "vm sho",
        "vm show we",
        "vm show",
        "we",
        "vm wait db --for ss",
        "vm create --vcp",
        "vm create new --nat --egress none",
        "vm delete web-*",
        "vm create --vcpus",
        "!any thing",
        "vm create a 'b",
        "vm exec web-1 ls",
        "vm exec web-1 -- nosuch",
    ],
)
def test_what_may_become_right_is_not_marked(line: str) -> None:
    assert WRONG not in coloured(line).values()


@given(st.text(st.sampled_from("vm create--label=web-1 '\"\\&!#?\t\n*ü"), max_size=60))
def test_nothing_that_is_typed_is_a_bug(line: str) -> None:
    """Each character is drawn once, in its place; and whatever can come next is offered."""
    line = line.replace("\n", " ")
    assert "".join(piece[1] for piece in READER.coloured(line)) == line
    completed(line)
    with contextlib.suppress(BangerError):
        asked(line)


# --- completion ---


def completed(line: str) -> list[str]:
    found = LineCompleter(PLUGINS, There()).get_completions(Document(line), CompleteEvent())
    return [line[: len(line) + each.start_position] + each.text for each in found]


@pytest.mark.parametrize(
    ("line", "some"),
    [
        ("u", {"use "}),
        ("use w", {"use web-1 ", "use web-2 "}),
        ("vm cr", {"vm create "}),
        ("banger vm cr", {"banger vm create "}),
        ("vm show 'we", {"vm show web-1 "}),
        ("vm create --egress ", {"vm create --egress all "}),
    ],
)
def test_completion(line: str, some: set[str]) -> None:
    assert some <= set(completed(line))


def test_states_are_shown() -> None:
    completer = LineCompleter(PLUGINS, There())
    (found,) = completer.get_completions(Document("vm show db"), CompleteEvent())
    assert "running" in found.display_meta_text


def test_a_file_with_a_space_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a b").touch()
    monkeypatch.chdir(tmp_path)
    assert completed("image export debian a") == ["image export debian 'a b' "]
    assert completed("!cat a") == ["!cat 'a b' "]


def test_a_key_is_quick_with_500_vms() -> None:
    keys_ms()  # modules are loaded
    begun = time.process_time()
    count = len(keys_ms())
    assert (time.process_time() - begun) / count < 0.03


# --- what stands around the line ---


class Known(Fleet):
    def __init__(self) -> None:
        super().__init__(Session(), lambda: None)
        self.vms = {**VMS, "off": view("off", VmState.STOPPED)}
        self.daemon_pid = 1


def text(pieces: Any) -> str:
    return "".join(piece[1] for piece in pieces)


def test_toolbar() -> None:
    fleet = Known()
    assert text(toolbar(fleet, 0, None)) == " 3 running · 1 stopped · 768 MiB in use "
    assert "2 jobs" in text(toolbar(fleet, 2, None))
    fleet.trouble = {"db": "db: is crashed", "x": "x: is failed"}
    assert "! x: is failed (+1)" in text(toolbar(fleet, 0, None))
    assert "wrong word" in text(toolbar(fleet, 0, UsageError("wrong word")))
    fleet.daemon_pid = None
    assert "bangerd does not run" in text(toolbar(fleet, 0, None))
    fleet.met = True
    assert "bangerd has gone" in text(toolbar(fleet, 0, None))


def test_prompt_with_stages() -> None:
    started = asked("vm create a")
    jobs = [Job(n, "vm create a", started.invocation, background=n > 1) for n in range(1, 10)]
    for job in jobs:
        job.status = f"stage {job.number}"
    lines = text(prompt("db", jobs, jobs[0])).splitlines()
    assert lines[0] == "stage 1"
    assert lines[1] == "[2] stage 2"
    assert lines[-2:] == ["… and 3 more", "banger db> "]
    assert text(prompt(None, [], None)) == "banger> "


@pytest.mark.parametrize(
    ("error", "told", "code"),
    [
        (Conflict("taken\nreally"), "banger: taken?really\n", 4),
        (OSError(28, "No space left", "f"), "banger: can't go on: f: No space left\n", 1),
        (ZeroDivisionError("x"), "banger: internal error: ZeroDivisionError('x')\n", 1),
    ],
)
def test_what_is_told_of_failures(error: Exception, told: str, code: int) -> None:
    assert failure(error, json=False) == (told, code)
    document = msgspec.json.decode(failure(error, json=True)[0])
    assert document["error"]["exit_code"] == code


# --- jobs, and what the fleet knows ---


def test_a_job_ends_with_what_it_said() -> None:
    said: list[str] = []
    ended: list[Job] = []
    with Session() as session:
        jobs = Jobs(session, lambda _, text: said.append(text), lambda: None, ended.append)
        started = asked("version")
        job = jobs.start("version", started.invocation, background=False)
        assert job.thread is not None
        job.thread.join(10)
    assert (ended, job.code) == ([job], 0)
    assert said[0].startswith("banger ")


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_fleet_follows_events(home: Path) -> None:
    """Over a real socket; the daemon's end is seen, and its successor is found."""
    states = {"db": VmState.RUNNING}
    path = home / "banger" / "bangerd.sock"

    def answer(request: Any) -> Iterator[object]:
        match request:
            case ListVms():
                yield [view(name, state) for name, state in states.items()]
            case ShowVm(name):
                yield view(name, states[name])
            case ListImages() | ListPlugins():
                yield []
            case GetInterface():
                yield NO_PLUGINS
            case ReadEvents():
                raise AssertionError("answered by the test")

    with Session() as session:
        fleet = Fleet(session, lambda: None)
        stale: set[str] = set()
        with serving(path, answer), session.lease() as asking:
            fleet._learn(asking)
            assert fleet.states == {VmState.RUNNING: 1}
            states["new"] = VmState.CRASHED
            crashed = VmStateChanged("new", VmState.CRASHED, "the VMM ended")
            fleet._take(Recorded(1, 0.0, crashed), stale, asking)
            assert stale == {"new"}
            assert "new" in fleet.trouble
            fleet._take(Recorded(2, 0.0, VmGone("new")), stale, asking)
            assert (stale, fleet.trouble) == (set(), {})
