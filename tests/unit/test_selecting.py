"""Commands for several VMs: names, patterns, labels, all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from banger.kernel.errors import Conflict, NotFound
from banger.model.requests.vms import DeleteVm, ListVms, RestartVm, SetVm, StartVm, StopVm
from banger.model.vm import VmState
from tests.unit.command_line import Cli, view
from tests.unit.fake_daemon import FakeDaemon, serving

VIEWS = [
    view("db-1", stage="test"),
    view("web-1", app="web", stage="test"),
    view("web-2", VmState.STOPPED, app="web", stage="live"),
]
NAMES = [vm.name for vm in VIEWS]
STATES = {vm.name: vm.state for vm in VIEWS}


def answer(request: Any) -> Iterator[object]:
    match request:
        case ListVms():
            yield VIEWS
        case _ if request.name not in STATES:
            raise NotFound(f"there is no VM {request.name!r}")
        case StopVm(name) if STATES[name] is VmState.STOPPED:
            raise Conflict(f"can't stop VM {name!r}: it is stopped")
        case DeleteVm():
            yield None
        case StartVm() | StopVm() | RestartVm() | SetVm():
            yield view(request.name)


@pytest.fixture
def daemon(home: Path) -> Iterator[FakeDaemon]:
    with serving(home / "banger" / "bangerd.sock", answer) as started:
        yield started


def acted_on(daemon: FakeDaemon) -> list[str]:
    return [request.name for request in daemon.requests if not isinstance(request, ListVms)]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("web-1", "web-1"),
        ("web-1 web-1 db-1", "web-1 db-1"),
        ("--all", "db-1 web-1 web-2"),
        ("web-*", "web-1 web-2"),
        ("*-[12]", "db-1 web-1 web-2"),
        ("web-? db-1", "web-1 web-2 db-1"),
        ("web-1 web-*", "web-1 web-2"),
        ("--label app=web", "web-1 web-2"),
        ("--label app", "web-1 web-2"),
        ("--label app --label stage=test", "web-1"),
        ("* --label stage=test", "db-1 web-1"),
        ("db-1 web-1 --label app", "web-1"),
        ("--all --label stage=live", "web-2"),
    ],
)
def test_who_is_meant(words: str, names: str, daemon: FakeDaemon, cli: Cli) -> None:
    assert cli("vm", "delete", *words.split()) == 0
    assert acted_on(daemon) == names.split()
    assert cli.out.splitlines() == [f"{name} deleted" for name in names.split()]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("nosuch-* web-1", "'nosuch-*'"),
        ("--label app=none", "app=none"),
        ("web-* --label stage=test --label app=db", "stage=test and app=db"),
    ],
)
def test_a_rule_that_fits_none(words: str, named: str, daemon: FakeDaemon, cli: Cli) -> None:
    assert cli("vm", "delete", *words.split()) == 3
    assert named in cli.err
    assert acted_on(daemon) == []


def test_all_of_none(home: Path, cli: Cli) -> None:
    with serving(home / "banger" / "bangerd.sock", lambda request: iter([[]])):
        assert cli("vm", "delete", "--all") == 0
        assert "no VMs" in cli.err
        assert cli("vm", "delete", "--all", "--json") == 0
        assert json.loads(cli.out) == []


def test_name_that_is_not_there_among_others(daemon: FakeDaemon, cli: Cli) -> None:
    assert cli("vm", "restart", "nosuch", "web-*") == 3
    assert cli.out.splitlines() == ["web-1 restarted", "web-2 restarted"]
    assert "'nosuch'" in cli.err


def test_delete_says_what_a_rule_chose(daemon: FakeDaemon, cli: Cli) -> None:
    cli("vm", "delete", "--label", "app")
    assert cli.err == "deleting 2: web-1, web-2\n"
    cli("vm", "delete", "web-1")
    assert cli.err == ""


def test_stop_and_start_leave_alone_what_is_so_already(daemon: FakeDaemon, cli: Cli) -> None:
    assert cli("vm", "stop", "--all") == 0
    assert cli.out.splitlines() == ["web-2 is stopped already", "db-1 stopped", "web-1 stopped"]
    assert cli("vm", "stop", "--all", "--json") == 0
    outcomes = json.loads(cli.out)
    assert [outcome["name"] for outcome in outcomes] == NAMES
    assert outcomes[2]["result"]["state"] == "stopped"
    daemon.requests.clear()
    assert cli("vm", "start", "web-*") == 0
    assert acted_on(daemon) == ["web-2"]


def test_a_name_is_acted_on_in_any_case(daemon: FakeDaemon, cli: Cli) -> None:
    assert cli("vm", "stop", "web-2") == 4
    assert cli("vm", "stop", "web-2", "db-*") == 4
    assert acted_on(daemon) == ["web-2", "web-2", "db-1"]


def test_changing(daemon: FakeDaemon, cli: Cli) -> None:
    assert cli("vm", "set", "web-*", "--label", "a=1", "--label", "b=", "--unlabel", "stage") == 0
    requests = [request for request in daemon.requests if isinstance(request, SetVm)]
    labels = {"a": "1", "b": "", "stage": None}
    assert requests == [SetVm(name, labels=labels) for name in ("web-1", "web-2")]
    daemon.requests.clear()
    assert cli("vm", "set", "web-1", "--vcpus", "2", "--memory", "512", "--disk", "8G") == 0
    assert daemon.requests[-1] == SetVm("web-1", 2, 512, 8 << 30)
    daemon.requests.clear()
    assert cli("vm", "set", "--where", "stage=test", "--label", "stage=live") == 0
    assert acted_on(daemon) == ["db-1", "web-1"]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("", "db-1 web-1 web-2"),
        ("web-*", "web-1 web-2"),
        ("db-1 web-2", "db-1 web-2"),
        ("--label stage=test", "db-1 web-1"),
        ("web-* --label stage=test", "web-1"),
        ("x-*", ""),
        ("--label nosuch", ""),
    ],
)
def test_listing(words: str, names: str, daemon: FakeDaemon, cli: Cli) -> None:
    assert cli("vm", "list", *words.split(), "--json") == 0
    assert [vm["name"] for vm in json.loads(cli.out)] == names.split()


def test_listing_a_name_that_is_not_there(daemon: FakeDaemon, cli: Cli) -> None:
    assert cli("vm", "list", "db-1", "nosuch") == 3
    assert "'nosuch'" in cli.err


def test_labels_are_listed_when_there_are_any(home: Path, daemon: FakeDaemon, cli: Cli) -> None:
    assert cli("vm", "list") == 0
    head, *rows = cli.out.splitlines()
    assert head.endswith("LABELS")
    assert rows[1].endswith("app=web, stage=test")


def test_no_column_of_labels_without_any(home: Path, cli: Cli) -> None:
    with serving(home / "banger" / "bangerd.sock", lambda request: iter([[view("a")]])):
        assert cli("vm", "list") == 0
        assert "LABELS" not in cli.out
