"""``banger doctor``: the findings as lines, as a document, as an exit code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from banger.kernel.errors import HostNotReady, UsageError
from banger.model.finding import Finding, Level
from banger.model.requests.control import DaemonStatus, GetStatus
from banger.model.requests.doctor import RunDoctor
from tests.unit.command_line import Cli
from tests.unit.fake_daemon import FakeDaemon, serving

STATUS = DaemonStatus(4711, "1.2", 1.0, {}, {}, None, "banger0", None, "/run/x.sock")
OK = Finding("disk", Level.OK, "12 GiB free", remedy="not shown")
WARNING = Finding("kvm", Level.WARNING, "no\x1bKVM", remedy="load it:\n  modprobe kvm")
FAILED = Finding("firewall", Level.FAILED, "drops", remedy="open it", fixable=True)
FIXED = Finding("leaks", Level.OK, "nothing", fixed="removed tap-1")


def answering(*findings: Finding) -> Any:
    def answer(request: Any) -> Iterator[object]:
        match request:
            case GetStatus():
                yield STATUS
            case RunDoctor():
                yield list(findings)

    return answer


@pytest.fixture
def socket(home: Path) -> Path:
    return home / "banger" / "bangerd.sock"


def test_lines(socket: Path, cli: Cli) -> None:
    with serving(socket, answering(OK, WARNING, FAILED, FIXED)):
        assert cli("doctor") == 1
    assert cli.out.splitlines() == [
        "ok       daemon    bangerd 1.2 runs, pid 4711, at /run/x.sock",
        "ok       disk      12 GiB free",
        "warning  kvm       no?KVM",
        "         load it:",
        "           modprobe kvm",
        "FAILED   firewall  drops",
        "         open it",
        "         'banger doctor --fix' does it",
        "ok       leaks     nothing",
        "         fixed: removed tap-1",
    ]


@pytest.mark.parametrize(("finding", "code"), [(OK, 0), (WARNING, 0), (FAILED, 1), (FIXED, 0)])
def test_exit_code(finding: Finding, code: int, socket: Path, cli: Cli) -> None:
    with serving(socket, answering(finding)) as daemon:
        assert cli("doctor", "--json") == code
        assert [item["check"] for item in json.loads(cli.out)] == ["daemon", finding.check]
        check_request(daemon, RunDoctor())


def test_what_is_asked(socket: Path, cli: Cli) -> None:
    with serving(socket, answering()) as daemon:
        assert cli("doctor", "--fix", "--leaks") == 0
        check_request(daemon, RunDoctor(leaks=True, fix=True))


def check_request(daemon: FakeDaemon, wanted: RunDoctor) -> None:
    assert daemon.requests[-1] == wanted


def test_no_daemon_can_be_started(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise HostNotReady("the daemon does not start: full", hint="see the log")

    monkeypatch.setattr("banger.client.launch.start", fail)
    monkeypatch.setattr("banger.client.launch._check_rights", lambda: None)
    assert cli("doctor") == 1
    assert cli.out == "FAILED   daemon  the daemon does not start: full\n         see the log\n"
    assert cli("doctor", "--json") == 1
    (finding,) = json.loads(cli.out)
    assert (finding["check"], finding["level"]) == ("daemon", "failed")


def test_daemon_that_knows_no_doctor(socket: Path, cli: Cli) -> None:
    def answer(request: Any) -> Iterator[object]:
        if isinstance(request, GetStatus):
            yield STATUS
        else:
            raise UsageError("no such request")

    with serving(socket, answer):
        assert cli("doctor") == 1
    assert "no such request" in cli.out
