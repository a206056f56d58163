"""``vm exec`` in several VMs, and calls that share a connection."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from banger.client.connection import Connection
from banger.client.lines import LINE_LIMIT_BYTES, LineWriter
from banger.kernel import wire
from banger.kernel.errors import BangerError, IllegalState, NotFound
from banger.kernel.message import Request
from banger.model.requests.exec import ErrorOutput, Exec, ExecResult, Output
from banger.model.requests.vms import ListVms, ShowVm
from banger.model.vm import VmState
from tests.unit.command_line import Cli, view
from tests.unit.fake_daemon import FakeDaemon, serving

NAMES = ["good", "bad", "dead", "slow", "off"]
RESULTS = {
    "good": ExecResult(0, 0, False),
    "bad": ExecResult(3, 0, False),
    "dead": ExecResult(-1, 9, False),
    "slow": ExecResult(-1, 15, True),
}


def answer(request: Any) -> Iterator[object]:
    match request:
        case ListVms():
            yield [view(name) for name in NAMES]
        case Exec(name="off"):
            raise IllegalState("can't exec VM 'off': it is stopped")
        case Exec(name) if name in RESULTS:
            yield Output(b"one\r\ntw")
            yield ErrorOutput(b"oops\x1b[2J\n")
            yield Output(b"o\n\xff last")
            yield RESULTS[name]
        case Exec(name):
            raise NotFound(f"there is no VM {name!r}")


@pytest.fixture
def daemon(home: Path) -> Iterator[FakeDaemon]:
    with serving(home / "banger" / "bangerd.sock", answer) as started:
        yield started


def executed(daemon: FakeDaemon) -> list[Exec]:
    return [request for request in daemon.requests if isinstance(request, Exec)]


@pytest.mark.parametrize("words", [["--all"], ["*"], NAMES, ["*o*", "bad", "dead"]])
def test_lines_have_names(words: list[str], daemon: FakeDaemon, cli: Cli) -> None:
    code = cli("vm", "exec", *words, "-e", "A=b", "--", "sh", "-c", "x --all")
    requests = executed(daemon)
    assert {request.name for request in requests} == set(NAMES)
    assert {tuple(request.argv) for request in requests} == {("sh", "-c", "x --all")}
    assert requests[0].env == {"A": "b"}
    for name in RESULTS:
        lines = [line for line in cli.out.splitlines() if line.startswith(f"{name} | ")]
        assert lines == [f"{name} | one", f"{name} | two", f"{name} | � last"]
        assert f"{name} | oops?[2J\n" in cli.err
    assert code != 0


def test_what_is_said_of_those_that_failed(daemon: FakeDaemon, cli: Cli) -> None:
    cli("vm", "exec", "--all", "--", "x")
    remarks = [line for line in cli.err.splitlines() if line.startswith("banger: ")]
    assert remarks == [
        "banger: bad: exit code 3",
        "banger: dead: signal 9 ended the command",
        "banger: slow: the command was ended at its timeout",
        "banger: off: can't exec VM 'off': it is stopped",
    ]


@pytest.mark.parametrize(
    ("names", "code"),
    [
        (["good", "good*"], 0),
        (["good", "bad", "dead"], 3),
        (["dead", "bad"], 137),
        (["good", "slow"], 124),
        (["off", "bad"], 4),
        (["good", "nosuch"], 3),
    ],
)
def test_first_code_that_is_not_0(
    names: list[str], code: int, daemon: FakeDaemon, cli: Cli
) -> None:
    assert cli("vm", "exec", *names, "--", "x") == code
    assert cli("vm", "exec", *names, "--json", "--", "x") == code


def test_document(daemon: FakeDaemon, cli: Cli) -> None:
    cli("vm", "exec", "off", "good", "--json", "--", "x")
    assert cli.err == ""
    off, good = json.loads(cli.out)
    assert off["error"]["kind"] == "IllegalState"
    assert (off["name"], off["code"], off["signal"], off["timed_out"]) == ("off", None, None, None)
    assert good == {
        "name": "good",
        "code": 0,
        "signal": 0,
        "timed_out": False,
        "stdout": "one\r\ntwo\n� last",
        "stderr": "oops\x1b[2J\n",
        "error": None,
    }


def test_pattern_that_fits_one_is_still_several(daemon: FakeDaemon, cli: Cli) -> None:
    cli("vm", "exec", "goo?", "--json", "--", "x")
    assert len(json.loads(cli.out)) == 1


def test_one_name_is_as_ever(daemon: FakeDaemon, cli: Cli) -> None:
    for line in (["good", "--json", "--", "x", "y"], ["--json", "good", "x", "y"]):
        assert cli("vm", "exec", *line) == 0
        assert json.loads(cli.out)["stdout"] == "one\r\ntwo\n� last"
        assert executed(daemon)[-1].argv == ["x", "y"]


def test_all_of_none(home: Path, cli: Cli) -> None:
    with serving(home / "banger" / "bangerd.sock", lambda request: iter([[]])):
        assert cli("vm", "exec", "--all", "--json", "--", "x") == 0
        assert json.loads(cli.out) == []


def test_line_without_end_does_not_fill_memory() -> None:
    stream = io.StringIO()
    writer = LineWriter(stream.write, "a")
    for _ in range(5):
        writer.feed(b"x" * (LINE_LIMIT_BYTES // 2))
    writer.close()
    lines = stream.getvalue().splitlines()
    assert "".join(line.removeprefix("a | ") for line in lines) == "x" * (LINE_LIMIT_BYTES // 2 * 5)
    assert all(len(line) <= LINE_LIMIT_BYTES + 4 for line in lines)


class Wire(Connection):
    """Answers the newest call of those that are under way; no socket."""

    def __init__(self) -> None:
        self.under_way: list[int] = []
        self.most = 0
        self._next = 0

    def begin(self, request: Request[Any]) -> int:
        self._next += 1
        self.under_way.append(self._next)
        self.most = max(self.most, len(self.under_way))
        return self._next

    def receive(self) -> wire.ServerMessage:
        call_id = self.under_way.pop()
        return wire.Done(call_id, wire.raw(view(f"vm-{call_id}", VmState.STOPPED)))


@pytest.mark.parametrize("at_once", [1, 3, 8])
def test_calls_at_once_are_bounded(at_once: int) -> None:
    connection = Wire()
    told: list[int] = []

    def tell(number: int, outcome: object) -> None:
        assert not isinstance(outcome, BangerError)
        told.append(number)

    outcomes = connection.call_all([ShowVm("a")] * 10, at_once=at_once, on_outcome=tell)
    assert connection.most == at_once
    assert sorted(told) == list(range(10))
    names = [outcome.name for outcome in outcomes if not isinstance(outcome, BangerError)]
    assert names == [f"vm-{number}" for number in range(1, 11)]
