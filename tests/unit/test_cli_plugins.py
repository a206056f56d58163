"""What plugins add to the argument line: options of core commands, and commands."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from banger.client import interface as client_interface
from banger.kernel.errors import Conflict, HostNotReady, NotFound
from banger.model.command import Argument, Kind, Option, Syntax
from banger.model.requests.exec import Output
from banger.model.requests.plugins import (
    CapabilityOption,
    CommandEnded,
    GetInterface,
    Interface,
    ListPlugins,
    PluginView,
    RunPluginCommand,
)
from banger.model.requests.vms import CreateVm, SetVm, ShowVm
from banger.model.settings import Setting
from banger.model.vm import VmView
from tests.unit.command_line import Cli, view
from tests.unit.fake_daemon import FakeDaemon, serving


def option(capability: str, field: str, *flags: str, **more: Any) -> CapabilityOption:
    declared = Option(f"{capability}__{field}", flags, f"Help of {field}.", **more)
    return CapabilityOption(capability, field, declared)


INTERFACE = Interface(
    options=[
        option("nat", "enabled", "--nat", kind=Kind.FLAG, off_flags=("--no-nat",)),
        option("nat", "ports", "-p", "--port", many=True, metavar="PORT"),
        option("nat", "limit", "--nat-limit", kind=Kind.NUMBER),
        option("nat", "egress", "--egress", kind=Kind.CHOICE, choices=("all", "none")),
        option("dns", "name", "--dns-name", "--name"),
        option("dns", "json", "--json"),
    ],
    commands=[
        Syntax(
            ("dns", "install"),
            "Make the host ask us.",
            options=(Option("force", ("--force",), "Even so.", Kind.FLAG),),
        ),
        Syntax(
            ("vm", "port", "add"),
            "Open a port.",
            arguments=(Argument("name", "VM."), Argument("ports", "Ports.", many=True)),
            options=(
                Option("count", ("--count",), "How many.", Kind.NUMBER, default=1),
                Option("note", ("--note", "--json"), "A remark."),
            ),
            examples=("banger vm port add web 8080:80",),
        ),
        Syntax(("vm", "port", "list"), "List ports."),
        Syntax(("bench", "dns"), "Measure names."),
        Syntax(("vm", "list"), "Not ours."),
    ],
    settings=[Setting("capabilities.nat.pool", 7, "How many.")],
)
PLUGIN = PluginView(
    name="nat",
    kind="capability",
    distribution="banger",
    version="1.0",
    summary="Ways out.",
    enabled=True,
    reason="",
    api_version=1,
    hooks=["prepare"],
    options=[row.option for row in INTERFACE.options[:3]],
    settings=INTERFACE.settings,
    commands=["vm port add"],
)
BROKEN = msgspec.structs.replace(
    PLUGIN, name="broken", enabled=False, reason="raised\x1b[2J at import", summary=""
)


def answer(request: Any) -> Iterator[object]:
    match request:
        case GetInterface():
            yield INTERFACE
        case ListPlugins():
            yield [PLUGIN, BROKEN]
        case CreateVm():
            yield view("new")
        case SetVm(name) | ShowVm(name):
            yield shown(name)
        case RunPluginCommand(path=["bench", "dns"]):
            raise Conflict("not now")
        case RunPluginCommand():
            yield Output("first …\n".encode())
            yield Output(b"sec\x1b[2Jond\n")
            yield CommandEnded(7, b'{"a": [1]}')


def shown(name: str) -> VmView:
    options = {"nat": {"enabled": False, "ports": ["8080:80", "81:81"]}, "dns": {"name": "x\x1b"}}
    return msgspec.structs.replace(view(name), options=options, labels={"b": "2", "a": "1"})


@pytest.fixture
def daemon(home: Path) -> Iterator[FakeDaemon]:
    with serving(home / "banger" / "bangerd.sock", answer) as started:
        yield started


@pytest.fixture
def no_daemon(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_interface, "from_program", lambda: INTERFACE)


# --- options ---


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("--nat", {"nat": {"enabled": True}}),
        ("--no-nat", {"nat": {"enabled": False}}),
        ("-p 8080:80", {"nat": {"ports": ["8080:80"]}}),
        ("-p8080:80 --port 1:1", {"nat": {"ports": ["8080:80", "1:1"]}}),
        ("--port=1:1 --dns-name x", {"nat": {"ports": ["1:1"]}, "dns": {"name": "x"}}),
        ("--nat-limit 0", {"nat": {"limit": 0}}),
        ("--egress none --label a=b", {"nat": {"egress": "none"}}),
    ],
)
def test_values(words: str, options: dict[str, Any], daemon: FakeDaemon, cli: Cli) -> None:
    assert cli("vm", "create", "new", *words.split()) == 0
    assert cli("vm", "set", *words.split(), "web") == 0
    create, change = (r for r in daemon.requests if isinstance(r, CreateVm | SetVm))
    assert (create.name, create.options) == ("new", options)
    assert (change.name, change.options) == ("web", options)


def test_core_flags_do_not_ask_for_plugins(daemon: FakeDaemon, cli: Cli) -> None:
    assert cli("vm", "create", "--name", "new", "--vcpus", "1", "--json") == 0
    assert [type(request) for request in daemon.requests] == [CreateVm]
    assert daemon.requests[0].name == "new"
    assert json.loads(cli.out)["name"] == "new"


@pytest.mark.parametrize(
    "words",
    [
        ["--nonsense"],
        ["--nat", "--nonsense"],
        ["--nat-limit", "many"],
        ["--egress", "some"],
        ["--nat=yes"],
        ["-q1"],
        ["--port"],
    ],
)
def test_wrong_values(words: list[str], no_daemon: None, cli: Cli) -> None:
    """No daemon is started for them: the fixture would fail."""
    assert cli("vm", "create", "new", *words) == 2
    assert cli.err.startswith("banger: ")
    assert "--help'" in cli.err
    assert cli("vm", "create", "new", "--json", *words) == 2
    assert json.loads(cli.out)["error"]["kind"] == "UsageError"


def test_flags_of_others_are_not_known_elsewhere(daemon: FakeDaemon, cli: Cli) -> None:
    assert cli("vm", "start", "web", "--nat") == 2
    assert daemon.requests == []


@pytest.mark.parametrize("path", [("vm", "create"), ("vm", "set")])
def test_help_has_a_section_for_each_capability(
    path: tuple[str, ...], no_daemon: None, cli: Cli
) -> None:
    assert cli(*path, "--help") == 0
    core, nat, dns = cli.out.split("Options of capability ")
    assert "--label" in core
    assert "--nat" not in core
    assert nat.startswith("nat:")
    assert "--nat / --no-nat" in nat
    assert "-p, --port PORT" in nat
    assert dns.startswith("dns:")
    # Flags that were ours before stay ours.
    assert ("--name" in dns) is (path == ("vm", "set"))
    assert "--json" not in dns


# --- commands ---


def test_command_of_a_plugin(daemon: FakeDaemon, cli: Cli) -> None:
    assert cli("vm", "port", "add", "web", "8080:80", "81:81", "--count", "2") == 7
    assert cli.out == "first …\nsec?[2Jond\n"
    request = daemon.requests[-1]
    assert request.path == ["vm", "port", "add"]
    parameters = {"name": "web", "ports": ["8080:80", "81:81"], "count": 2, "note": None}
    assert request.parameters == parameters


def test_its_document(daemon: FakeDaemon, cli: Cli) -> None:
    assert cli("dns", "install", "--json", "--force") == 7
    assert json.loads(cli.out) == {"a": [1]}
    assert cli.err == ""
    assert daemon.requests[-1].parameters == {"force": True}


def test_its_error(daemon: FakeDaemon, cli: Cli) -> None:
    assert cli("bench", "dns") == 4
    assert cli.err == "banger: not now\n"


def test_a_core_command_is_never_replaced(daemon: FakeDaemon, cli: Cli) -> None:
    assert cli("vm", "list", "--help") == 0
    assert "Not ours" not in cli.out
    assert daemon.requests == []


def test_help_of_commands(no_daemon: None, cli: Cli) -> None:
    assert cli("--help") == 0
    assert "dns" in cli.out
    assert cli("vm", "--help") == 0
    assert "port" in cli.out
    assert cli("vm", "port", "--help") == 0
    assert "Open a port." in cli.out
    assert cli("vm", "port", "add", "--help") == 0
    for text in ("NAME PORTS...", "--count", "--note", "banger vm port add web 8080:80"):
        assert text in cli.out
    assert cli("bench", "--help") == 0
    assert "Measure names." in cli.out


@pytest.mark.parametrize(
    "words", ["dns nstall", "vm port ad", "vm port add web", "vm port add web 1 --count x", "dnss"]
)
def test_wrong_lines_of_commands(words: str, no_daemon: None, cli: Cli) -> None:
    assert cli(*words.split()) == 2
    assert cli.err.startswith("banger: ")


# --- where it comes from ---


def test_daemon_of_another_version(home: Path, no_daemon: None, cli: Cli) -> None:
    def refuse(request: Any) -> Iterator[object]:
        raise NotFound("no such request")
        yield

    with serving(home / "banger" / "bangerd.sock", refuse):
        assert cli("vm", "create", "--help") == 0
    assert "--nat" in cli.out


def test_plugins_that_can_not_be_asked_for(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Interface:
        raise HostNotReady("can't find out: the reason")

    monkeypatch.setattr(client_interface, "from_program", fail)
    for line in (["vm", "create", "--help"], ["vm", "--help"], ["--help"]):
        assert cli(*line) == 0
        assert "the reason" in cli.out
    for line in (["vm", "create", "--nat"], ["dns", "install"]):
        assert cli(*line) == 5
        assert "the reason" in cli.err


class Program:
    """Stands for ``subprocess.run``."""

    def __init__(self, code: int, out: bytes, err: bytes = b"") -> None:
        self._done = subprocess.CompletedProcess([], code, out, err)

    def __call__(self, argv: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        assert argv == [sys.executable, "-m", "banger.daemon", "--interface"]
        return self._done


@pytest.fixture
def from_program() -> Iterator[Any]:
    client_interface.from_program.cache_clear()
    yield client_interface.from_program
    client_interface.from_program.cache_clear()


def test_program_that_tells(from_program: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", Program(0, msgspec.json.encode(INTERFACE)))
    assert from_program() == INTERFACE


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        (Program(2, b"", b"noise\nbangerd: bad setting\n"), ": bad setting"),
        (Program(-9, b""), "no message"),
        (Program(0, b"{}"), "missing required field"),
        (Program(0, b"\xff"), "JSON is malformed"),
    ],
)
def test_program_that_fails(
    program: Program, reason: str, from_program: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "run", program)
    with pytest.raises(HostNotReady, match=reason):
        from_program()


# --- what is shown of them ---


def test_options_and_labels_of_a_vm(daemon: FakeDaemon, cli: Cli) -> None:
    assert cli("vm", "show", "web") == 0
    lines = dict(line.split(maxsplit=1) for line in cli.out.splitlines())
    assert lines["labels"] == "a=1, b=2"
    assert lines["nat"] == "enabled=no, ports=8080:80 81:81"
    assert lines["dns"] == "name=x?"


def test_list_and_show(daemon: FakeDaemon, cli: Cli) -> None:
    assert cli("plugin", "list") == 0
    assert [line.split()[:5] for line in cli.out.splitlines()] == [
        ["NAME", "KIND", "VERSION", "STATE", "FROM"],
        ["nat", "capability", "1.0", "on", "banger"],
        ["broken", "capability", "1.0", "off", "banger"],
    ]
    assert "raised?[2J at import" in cli.out
    assert cli("plugin", "list", "--json") == 0
    assert [plugin["enabled"] for plugin in json.loads(cli.out)] == [True, False]
    assert cli("plugin", "show", "nat") == 0
    for text in ("Ways out.", "prepare", "vm port add", "--nat, --no-nat", "pool = 7"):
        assert text in cli.out
    assert cli("plugin", "show", "nosuch") == 3


def test_settings_of_capabilities(
    home: Path, no_daemon: None, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "banger").mkdir()
    (home / "banger" / "config.toml").write_text("[capabilities.nat]\npool = 9\n")
    assert cli("config", "show", "--json") == 0
    rows = {row["key"]: row["value"] for row in json.loads(cli.out)}
    assert rows["capabilities.nat.pool"] == 9
    assert cli("config", "show", "--set", "capabilities.nat.pool=10") == 0
    assert "--set" in cli.out
    (home / "banger" / "config.toml").write_text("[capabilities.nat]\npol = 9\n")
    assert cli("config", "show") == 2
    assert "capabilities.nat.pol" in cli.err
