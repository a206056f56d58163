"""Lines that are understood before they run, and commands that run beside each other."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from banger.cli.invocation import Invocation, parse
from banger.cli.plugins import Plugins
from banger.cli.tree import Group
from banger.commands.context import Context
from banger.commands.program import run_program
from banger.commands.session import Session
from banger.commands.sink import KeptSink
from banger.kernel.errors import Interrupted, UsageError
from banger.model.requests.exec import Exec, ExecResult, Output
from banger.model.requests.plugins import GetInterface, Interface
from banger.model.requests.vms import DeleteVm, ListVms, ShowVm
from tests.unit.command_line import NO_PLUGINS, view
from tests.unit.fake_daemon import FakeDaemon, serving
from tests.unit.test_cli_plugins import INTERFACE

pytestmark = pytest.mark.usefixtures("home")


def understood(line: str, interface: Interface = NO_PLUGINS) -> Invocation:
    return parse(line.split(), Plugins(lambda: interface))


# --- understanding ---


def test_a_line_is_data_before_it_runs() -> None:
    found = understood("vm create web --vcpus 2 --label a=b --json")
    assert found.command.path == ("vm", "create")
    assert (found.parameters["position"], found.parameters["vcpus"]) == ("web", 2)
    assert found.parameters["labels"] == ("a=b",)
    assert (found.json, found.debug, found.takes_terminal) == (True, False, False)
    assert found.words[:3] == ("vm", "create", "web")


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ("--help", ()),
        ("vm --help", ("vm",)),
        ("vm create --help", ("vm", "create")),
        ("vm create x --label --help", ("vm", "create")),
        ("help vm create", ("vm", "create")),
        ("help", ()),
    ],
)
def test_help_is_a_command(line: str, path: tuple[str, ...]) -> None:
    found = understood(line)
    assert (found.command.path, found.parameters["words"]) == (("help",), path)


def test_what_a_guest_is_given_is_not_ours() -> None:
    found = understood("vm exec web -- ls --help --json")
    assert found.command.path == ("vm", "exec")
    assert (found.json, found.parameters["command"]) == (False, ("ls", "--help", "--json"))


@pytest.mark.parametrize(
    ("line", "terminal"),
    [
        ("vm ssh web", True),
        ("vm exec web -t -- sh", True),
        ("vm exec web -- sh", False),
        ("image customize debian --shell", True),
    ],
)
def test_who_takes_the_terminal(line: str, terminal: bool) -> None:
    assert understood(line).takes_terminal is terminal


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("nonsense", 0),
        ("vm lst", 1),
        ("vm --nonsense", 1),
        ("vm create web --nonsense", 3),
        ("vm create web --nonsense=1 --json", 3),
        ("vm create --vcpus two web", 3),
        ("vm create --vcpus=two web", 2),
        ("vm create --vcpus 2 --memory much web", 5),
        ("vm create --vcpus 2 --memory", 4),
        ("vm wait web --for godot", 4),
        ("vm show a b", 3),
        ("image list extra", 2),
        ("vm show", None),
        ("vm create web -q", 3),
    ],
)
def test_the_word_at_fault(line: str, word: int | None) -> None:
    with pytest.raises(UsageError) as error:
        understood(line)
    assert error.value.word == word


def test_the_word_at_fault_among_options_of_plugins() -> None:
    with pytest.raises(UsageError) as error:
        understood("vm create web --nat --nat-limit many", INTERFACE)
    assert error.value.word == 5


def test_a_group_is_no_command() -> None:
    with pytest.raises(Group) as error:
        understood("vm")
    assert error.value.path == ("vm",)
    with pytest.raises(Group):
        understood("vm port", INTERFACE)


def test_did_you_mean() -> None:
    for line in ("vm lst", "vm list --labl x"):
        with pytest.raises(UsageError, match=r"[Dd]id you mean"):
            understood(line)


# --- running ---


class Slow:
    """A daemon whose ``vm show`` of 'slow' ends when it is told to."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.end = threading.Event()

    def answer(self, request: Any) -> Iterator[object]:
        match request:
            case GetInterface():
                yield NO_PLUGINS
            case ListVms():
                yield []
            case ShowVm("slow"):
                self.begun.set()
                assert self.end.wait(20)
                yield view("slow")
            case ShowVm(name):
                yield view(name)
            case DeleteVm():
                yield None
            case Exec():
                yield Output(b"out\xff\n")
                yield ExecResult(3, 0, False)


@pytest.fixture
def slow() -> Iterator[Slow]:
    slow = Slow()
    yield slow
    slow.end.set()


@pytest.fixture
def daemon(home: Path, slow: Slow) -> Iterator[FakeDaemon]:
    with serving(home / "banger" / "bangerd.sock", slow.answer) as started:
        yield started
        slow.end.set()


def ran(session: Session, line: str) -> tuple[int, KeptSink]:
    sink = KeptSink()
    found = parse(line.split(), Plugins(session.interface))
    with Context(session, sink, json=found.json) as context:
        return found.run(context), sink


def test_commands_share_a_connection(daemon: FakeDaemon) -> None:
    with Session() as session:
        for _ in range(3):
            code, sink = ran(session, "vm show web --json")
            assert (code, sink.errors) == (0, "")
            assert msgspec.json.decode(sink.output)["name"] == "web"
    assert daemon.connections == 1


def test_output_is_kept(daemon: FakeDaemon) -> None:
    with Session() as session:
        code, sink = ran(session, "vm exec web -- ls")
        assert (code, sink.output) == (3, "out�\n")
        with pytest.raises(UsageError, match="terminal"):
            ran(session, "vm exec web -t -- sh")
        with pytest.raises(UsageError, match="becomes the daemon"):
            ran(session, "daemon run")


def test_a_command_costs_little(daemon: FakeDaemon) -> None:
    with Session() as session:
        ran(session, "vm show web --json")
        begun = time.process_time()
        for _ in range(100):
            ran(session, "vm show web --json")
        assert (time.process_time() - begun) / 100 < 0.005


def test_cancelling_ends_the_call_and_not_the_cleaning(daemon: FakeDaemon, slow: Slow) -> None:
    told: list[object] = []

    def run(context: Context) -> None:
        try:
            context.call(ShowVm("slow"))
        except Interrupted as error:
            told.append(error)
            slow.end.set()
            told.append(context.call(DeleteVm("web")))

    with Session() as session, Context(session, KeptSink(), json=False) as context:
        thread = threading.Thread(target=run, args=(context,))
        thread.start()
        assert slow.begun.wait(20)
        context.cancel()
        thread.join(20)
        assert not thread.is_alive()
    assert [type(item) for item in told] == [Interrupted, type(None)]
    assert isinstance(daemon.requests[-1], DeleteVm)


def test_cancelling_before_anything_is_asked(daemon: FakeDaemon) -> None:
    with Session() as session, Context(session, KeptSink(), json=False) as context:
        context.cancel()
        with pytest.raises(Interrupted):
            context.call(ShowVm("web"))
        assert context.call(ShowVm("web")).name == "web"


def test_cancelling_between_two_requests(daemon: FakeDaemon) -> None:
    with Session() as session, Context(session, KeptSink(), json=False) as context:
        assert context.call(ShowVm("web")).name == "web"
        context.cancel()
        with pytest.raises(Interrupted):
            context.call(ShowVm("web"))
        assert context.call(ShowVm("web")).name == "web"


def test_cancelling_a_pause() -> None:
    with Session() as session, Context(session, KeptSink(), json=False) as context:
        threading.Timer(0.05, context.cancel).start()
        with pytest.raises(Interrupted):
            context.sleep(20)


def test_a_program_without_the_terminal() -> None:
    sink = KeptSink()
    with Session() as session, Context(session, sink, json=False) as context:
        script = "cat; echo out; echo err >&2; exit 3"
        assert run_program(context, ["/bin/sh", "-c", script], last=True) == 3
        assert (sink.output, sink.errors) == ("out\n", "err\n")
        assert run_program(context, ["/bin/sh", "-c", "kill -9 $$"]) == 128 + signal.SIGKILL
        threading.Timer(0.1, context.cancel).start()
        with pytest.raises(Interrupted):
            run_program(context, ["/bin/sh", "-c", "echo $$; exec sleep 1000"])
        pid = int(sink.output.split()[-1])
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_daemon_that_was_replaced(home: Path) -> None:
    """Its connections and what its plugins add are asked for anew."""
    path = home / "banger" / "bangerd.sock"
    with Session() as session:
        with serving(path, Slow().answer):
            assert ran(session, "vm show web")[0] == 0
            assert session.interface() == NO_PLUGINS
        path.unlink()
        with serving(path, lambda request: iter([INTERFACE])) as second:
            second.hello = msgspec.structs.replace(second.hello, pid=2)
            session.give_back(session.lease())
            assert session.interface() == INTERFACE
