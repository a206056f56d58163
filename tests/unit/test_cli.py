"""The argument line: every command's help, every error one line, and a quick start."""

from __future__ import annotations

import inspect
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from banger.cli.invocation import parse
from banger.cli.plugins import Plugins
from banger.commands.table import GROUPS, MODULES, SUBGROUPS, load
from banger.kernel.errors import BangerError, Conflict, NotFound
from banger.model.requests.exec import ErrorOutput, Exec, ExecResult, Output
from banger.model.requests.guests import ReadConsole
from banger.model.requests.plugins import GetInterface
from banger.model.requests.vms import DeleteVm, ListVms, ShowVm, StopVm
from banger.model.vm import VmState
from tests.unit.command_line import NO_PLUGINS, Cli, view
from tests.unit.fake_daemon import FakeDaemon, GuestFiles, serving

PATHS = sorted(MODULES)

pytestmark = pytest.mark.usefixtures("home")


def answer(request: Any) -> Iterator[object]:
    """A daemon with the VMs web-1 and web-2."""
    name: str = getattr(request, "name", "web-1")
    if name not in ("web-1", "web-2"):
        raise NotFound(f"there is no VM {name!r}", hint="'banger vm list' shows them")
    match request:
        case ListVms():
            yield [view("web-1"), view("web-2", VmState.STOPPED)]
        case ShowVm():
            yield view(name)
        case GetInterface():
            yield NO_PLUGINS
        case StopVm(name="web-2"):
            raise Conflict("can't stop VM 'web-2': it is stopped\x1b[2J\nreally")
        case StopVm():
            yield view(name, VmState.STOPPED)
        case DeleteVm():
            yield None
        case Exec():
            yield Output(" ".join(request.argv).encode() + b"\xff")
            yield ErrorOutput(b"oops\n")
            yield ExecResult(-1, 9, False) if request.argv[0] == "die" else ExecResult(3, 0, False)
        case ReadConsole():
            yield Output(b"boot\x1b[31m\r\n\ttab")
            yield None


@pytest.fixture
def daemon(home: Path) -> Iterator[FakeDaemon]:
    with serving(home / "banger" / "bangerd.sock", answer) as started:
        yield started


WITHOUT_DOCUMENT = {("repl",), ("tui",), ("complete",), ("vm", "ssh"), ("daemon", "run")}

# --- the table ---


@pytest.mark.parametrize("path", PATHS)
def test_declaration(path: tuple[str, ...]) -> None:
    command = load(path)
    assert command.path == path
    assert command.summary.endswith(".")
    assert len(path) == 1 or path[0] in GROUPS
    names = [argument.name for argument in command.arguments]
    names += [option.name for option in command.options]
    assert len(set(names)) == len(names)
    taken = [*inspect.signature(command.run).parameters]
    names += ["options"] * command.takes_options
    assert sorted(taken) == sorted(["context", *names])
    flags = [flag for option in command.options for flag in option.flags]
    assert len({*flags, "--json", "--debug", "--help"}) == len(flags) + 3
    for option in command.options:
        assert option.help.endswith(".")
    assert (command.reply is None) is (path in WITHOUT_DOCUMENT)
    for example in command.examples:
        assert example.startswith("banger " + " ".join(path))


@pytest.mark.parametrize("path", PATHS)
def test_examples_can_be_parsed(path: tuple[str, ...]) -> None:
    assert load(path).examples
    for example in load(path).examples:
        _, *words = shlex.split(example)
        assert parse(words, Plugins(lambda: NO_PLUGINS)).command == load(path)


def test_choices_are_given_by_their_values() -> None:
    words = "image import tar /x.tar --name x --init agent".split()
    assert parse(words, Plugins(lambda: NO_PLUGINS)).parameters["init"] == "agent"


@pytest.mark.parametrize("path", PATHS)
def test_help_names_everything(path: tuple[str, ...], cli: Cli) -> None:
    command = load(path)
    assert cli(*path, "--help") == 0
    assert cli.err == ""
    assert command.summary in " ".join(cli.out.split())
    for option in command.options:
        for flag in option.flags:
            assert (flag in cli.out) is not option.hidden
    for flag in ("--json", "--debug", "--help"):
        assert flag in cli.out
    for example in command.examples:
        assert example in cli.out


def test_help_of_groups_lists_their_commands(cli: Cli) -> None:
    assert cli("--help") == 0
    assert all(group in cli.out for group in GROUPS)
    for group, text in GROUPS.items():
        assert cli(group, "--help") == 0
        assert text in cli.out
        for path in PATHS:
            if path[0] == group and path[:2] not in SUBGROUPS:
                assert load(path).summary[:20] in cli.out
    for above, text in SUBGROUPS.items():
        assert cli(*above, "--help") == 0
        assert text in cli.out
        for path in PATHS:
            if path[:2] == above:
                assert load(path).summary[:20] in cli.out


# --- errors ---

WRONG = [
    ["nonsense"],
    ["--nonsense"],
    ["vm", "nonsense"],
    ["vm", "--nonsense"],
    ["vm", "list", "--nonsense"],
    ["image", "list", "extra"],
    ["vm", "list", "Bad_Name"],
    ["vm", "list", "--label", "=x"],
    ["vm", "show"],
    ["vm", "show", "a", "b"],
    ["vm", "show", "Bad_Name"],
    ["vm", "show", ""],
    ["vm", "show", "../x"],
    ["vm", "show", "a\nb"],
    ["vm", "show", "\x1b[2J"],
    ["vm", "show", "\udcff"],
    ["vm", "delete"],
    ["vm", "delete", "a", "--all"],
    ["vm", "delete", "a*", "--all"],
    ["vm", "delete", "a", "--parallel", "0"],
    ["vm", "delete", "a", "--parallel", "65"],
    ["vm", "delete", "--label", "two words"],
    ["vm", "delete", "--label", "k=two words"],
    ["vm", "set", "a"],
    ["vm", "set", "a", "--label", "k"],
    ["vm", "set", "a", "--label", "=v"],
    ["vm", "set", "a", "--label", "k=v", "--unlabel", "k"],
    ["vm", "set", "a", "--label", "k=v", "--label", "k=w"],
    ["vm", "set", "a", "--unlabel", "-k"],
    ["vm", "set", "--label", "k=v"],
    ["vm", "set", "a", "--nonsense"],
    ["vm", "create", "a", "--nonsense"],
    ["vm", "create", "a", "-p8080:80"],
    ["vm", "create", "a", "--label", "k"],
    ["vm", "create", "a", "--label", "k=\n"],
    ["vm", "create", "a", "--label", "k" * 64 + "="],
    ["vm", "create", "a", "--label", "k=" + "v" * 129],
    ["vm", "create", "a", *(f"--label=k{n}=v" for n in range(65))],
    ["vm", "create", "a", "--label", "\udcff=x"],
    ["vm", "delete", "good", "Bad"],
    ["vm", "create", "a", "--name", "b"],
    ["vm", "create", "a", "--vcpus", "two"],
    ["vm", "create", "a", "--vcpus", "0"],
    ["vm", "create", "a", "--vcpus", "65"],
    ["vm", "create", "a", "--vcpus", "9" * 5000],
    ["vm", "create", "a", "--memory", "1"],
    ["vm", "create", "a", "--disk", "big"],
    ["vm", "create", "a", "--disk", "1K"],
    ["vm", "create", "a", "--disk", "999T"],
    ["vm", "create", "a", "--image", "No"],
    ["vm", "create", "a", "--image"],
    ["vm", "exec", "a"],
    ["vm", "exec", "a", "--"],
    ["vm", "exec", "Bad", "--", "true"],
    ["vm", "exec", "--", "true"],
    ["vm", "exec", "--all", "true"],
    ["vm", "exec", "a", "--all", "--", "true"],
    ["vm", "exec", "a", "b", "-t", "--", "true"],
    ["vm", "exec", "--all", "-t", "--", "true"],
    ["vm", "exec", "a*", "-t", "--", "true"],
    ["vm", "exec", "a", "b", "--parallel", "0", "--", "true"],
    ["vm", "exec", "a", "--env", "novalue", "--", "true"],
    ["vm", "exec", "a", "--env", "=x", "--", "true"],
    ["vm", "exec", "a", "--timeout", "soon", "--", "true"],
    ["vm", "wait", "a", "--for", "godot"],
    ["vm", "wait", "a", "--timeout", "0"],
    ["vm", "wait", "a", "--timeout", "nan"],
    ["vm", "wait", "a", "--timeout", "inf"],
    ["vm", "cp", "a"],
    ["vm", "cp", "a", "b"],
    ["vm", "cp", "a:/x", "b:/y"],
    ["vm", "cp", "a:x", "b"],
    ["image", "show", "No"],
    ["image", "build", "No"],
    ["image", "build", "a", "--recipe", "../x"],
    ["bench", "create", "--runs", "0"],
    ["bench", "create", "--cold", "--warm"],
    ["bench", "create", "--parallel"],
    ["bench", "create", "--count", "5", "--debvm"],
    ["bench", "create", "--memory", "1"],
]


@pytest.mark.parametrize("arguments", WRONG, ids=lambda words: ascii(" ".join(words))[:40])
def test_wrong_lines(arguments: list[str], cli: Cli) -> None:
    assert cli(*arguments) == 2
    assert cli.out == ""
    assert cli.err.startswith("banger: ")
    assert cli.err.endswith("\n")
    assert cli.err[:-1].isprintable()


@pytest.mark.parametrize("arguments", WRONG[4:], ids=lambda words: ascii(" ".join(words))[:40])
def test_wrong_lines_as_json(arguments: list[str], cli: Cli) -> None:
    at = arguments.index("--") if "--" in arguments else len(arguments)
    assert cli(*arguments[:at], "--json", *arguments[at:]) == 2
    assert cli.err == ""
    error = json.loads(cli.out)["error"]
    assert error.keys() == {"kind", "message", "hint", "exit_code"}
    assert (error["kind"], error["exit_code"]) == ("UsageError", 2)
    assert error["message"]


def test_near_misses_are_suggested(cli: Cli) -> None:
    assert cli("vm", "lst") == 2
    assert "'vm lst'" in cli.err
    assert "'list'" in cli.err
    assert "--help" in cli.err


def test_nothing_asked_shows_help(cli: Cli) -> None:
    assert cli() == 2
    assert "Commands:" in cli.err
    assert cli.out == ""
    assert cli("vm") == 2
    assert "create" in cli.err


def test_version(cli: Cli) -> None:
    assert cli("version") == 0
    text = cli.out
    assert cli("version", "--json") == 0
    assert text == f"banger {json.loads(cli.out)['version']}\n"


@pytest.mark.parametrize("kind", [BangerError, ZeroDivisionError, KeyboardInterrupt])
def test_what_a_command_raises(
    kind: type[BaseException], cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise kind("as\nasked")

    monkeypatch.setattr("banger.commands.context.Context.__init__", fail)
    code = cli("version")
    assert code == (130 if kind is KeyboardInterrupt else 1)
    assert ("as" in cli.err) is (kind is not KeyboardInterrupt)
    assert cli.err.strip("\n").isprintable()
    assert "Traceback" not in cli.err
    cli("version", "--debug")
    assert ("Traceback" in cli.err) is (kind is not KeyboardInterrupt)


def test_settings_file_that_is_wrong(home: Path, cli: Cli) -> None:
    (home / "banger").mkdir()
    (home / "banger" / "config.toml").write_text("[vm]\nvcpu = 1\n")
    assert cli("config", "show") == 2
    assert "config.toml" in cli.err
    assert cli("config", "show", "--json") == 2
    assert "vm.vcpu" in json.loads(cli.out)["error"]["message"]


def test_settings_are_shown(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BANGER_VM_VCPUS", "3")
    assert cli("config", "show", "--json") == 0
    rows = {row["key"]: row for row in json.loads(cli.out)}
    assert (rows["vm.vcpus"]["value"], rows["vm.vcpus"]["origin"]) == (3, "BANGER_VM_VCPUS")
    assert cli("config", "show") == 0
    assert "BANGER_VM_VCPUS" in cli.out


def test_runtime_directory_too_deep_for_a_socket(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/" + "deep" * 40)
    assert cli("vm", "list") == 5
    assert "XDG_RUNTIME_DIR" in cli.err


# --- with a daemon ---


def test_list_and_show(daemon: FakeDaemon, cli: Cli) -> None:
    assert cli("vm", "list") == 0
    assert [line.split()[:2] for line in cli.out.splitlines()] == [
        ["NAME", "STATE"],
        ["web-1", "running"],
        ["web-2", "stopped"],
    ]
    assert cli("vm", "list", "--json") == 0
    assert [vm["name"] for vm in json.loads(cli.out)] == ["web-1", "web-2"]
    assert cli("vm", "show", "web-1", "--json") == 0
    assert json.loads(cli.out)["address"] == "172.31.0.5"


def test_errors_of_the_daemon(daemon: FakeDaemon, cli: Cli) -> None:
    assert cli("vm", "show", "none") == 3
    assert cli.err == "banger: there is no VM 'none' ('banger vm list' shows them)\n"
    assert cli("vm", "show", "none", "--json") == 3
    assert json.loads(cli.out)["error"]["kind"] == "NotFound"


def test_several_at_once(daemon: FakeDaemon, cli: Cli) -> None:
    """Each has a line; the first failure decides the code; nothing reaches the terminal raw."""
    assert cli("vm", "stop", "web-1", "web-2", "none") == 4
    assert cli.out == "web-1 stopped\n"
    assert [line.isprintable() for line in cli.err.splitlines()] == [True, True]
    assert cli("vm", "stop", "web-1", "web-2", "none", "--json") == 4
    outcomes = json.loads(cli.out)
    assert [item["name"] for item in outcomes] == ["web-1", "web-2", "none"]
    assert [bool(item["error"]) for item in outcomes] == [False, True, True]
    assert cli("vm", "delete", "web-1", "web-2") == 0


@pytest.mark.parametrize(
    ("line", "argv"),
    [
        (["--", "ls", "-l"], ["ls", "-l"]),
        (["--", "ls", "--json", "--debug", "--help"], ["ls", "--json", "--debug", "--help"]),
        (["--", "sh", "-c", "a -- b"], ["sh", "-c", "a -- b"]),
        (["--", "a", "--", "b"], ["a", "--", "b"]),
        (["--", "", "ü"], ["", "ü"]),
        (["ls"], ["ls"]),
    ],
)
def test_what_follows_the_dashes_is_the_guests(
    line: list[str], argv: list[str], daemon: FakeDaemon, cli: Cli
) -> None:
    assert cli("vm", "exec", "web-1", "--json", "-e", "A=b=c", *line) == 3
    document = json.loads(cli.out)
    assert document["stdout"] == " ".join(argv) + "�"
    assert (document["stderr"], document["code"], document["signal"]) == ("oops\n", 3, 0)
    (request,) = daemon.requests
    assert request.argv == argv
    assert request.env == {"A": "b=c"}


@pytest.mark.parametrize("line", [["-w", "\udcff", "--", "ls"], ["--", "ls", "\udcff"]])
def test_what_can_not_be_said_to_a_guest(line: list[str], daemon: FakeDaemon, cli: Cli) -> None:
    assert cli("vm", "exec", "web-1", *line) == 2
    assert cli.err == "banger: '\\udcff' is not UTF-8\n"


def test_command_that_a_signal_ended(daemon: FakeDaemon, cli: Cli) -> None:
    assert cli("vm", "exec", "web-1", "--json", "--", "die") == 128 + 9


def test_console_is_made_harmless(daemon: FakeDaemon, cli: Cli, home: Path) -> None:
    assert cli("vm", "logs", "web-1", "--json") == 0
    assert json.loads(cli.out)["console"] == "boot\x1b[31m\r\n\ttab"
    plain = subprocess.run([*BANGER, "vm", "logs", "web-1"], capture_output=True, timeout=20)
    assert plain.stdout == b"boot[31m\n\ttab"
    raw = subprocess.run([*BANGER, "vm", "logs", "web-1", "--raw"], capture_output=True, timeout=20)
    assert raw.stdout == b"boot\x1b[31m\r\n\ttab"


def test_copying(home: Path, cli: Cli) -> None:
    guest = GuestFiles()
    with serving(home / "banger" / "bangerd.sock", guest.answer, guest):
        (home / "file").write_text("data")
        assert cli("vm", "cp", str(home / "file"), "web-1:/root/") == 0
        assert guest.files["/root/file"][1] == b"data"
        assert cli("vm", "cp", "web-1:/root/file", str(home / "missing" / "x")) == 3
        assert "internal error" not in cli.err
        assert cli("vm", "cp", "web-1:/root/none", str(home)) == 3
        (home / "link\x1b[2J").symlink_to("file")
        (home / "link").mkdir()
        (home / "link\x1b[2J").rename(home / "link" / "a\x1b[2J")
        assert cli("vm", "cp", str(home / "link"), "web-1:/l") == 0
        assert "left out" in cli.err
        assert cli.err[:-1].isprintable()


def test_daemon_of_another_protocol(daemon: FakeDaemon, cli: Cli) -> None:
    daemon.hello = type(daemon.hello)(99, "test", 1)
    assert cli("vm", "list") == 1
    assert "another version" in cli.err


# --- as a process ---

BANGER = [sys.executable, "-m", "banger.cli.main"]
HEAVY = (
    *("trio", "prompt_toolkit", "pyroute2", "h11", "stevedore", "asyncio", "banger.daemon"),
    *("pathlib", "shutil", "subprocess", "tempfile", "traceback"),
    *("importlib.metadata", "email", "difflib", "banger.model.image", "banger.model.settings"),
)
PROGRAM = f"""
import os, sys
from banger.cli.main import main
def leave(code):
    print("heavy:", *sorted(set({HEAVY!r}) & sys.modules.keys()), file=sys.stderr)
    sys.exit(code)
os._exit = leave
main()
"""


@pytest.mark.parametrize(
    "line",
    [
        *(["vm", "list"], ["vm", "list", "--help"], ["vm", "stop", "web-1"], ["vm", "create", "a"]),
        *(["vm", "create", "Bad"], ["vm", "exec", "web-1", "--", "true"], ["version"]),
    ],
)
def test_start_is_light(line: list[str], daemon: FakeDaemon) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, *line], capture_output=True, timeout=20)
    assert done.returncode in (0, 2, 3)
    assert done.stderr.splitlines()[-1].split() == [b"heavy:"]


def process(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*BANGER, *arguments],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=20,
        **options,
    )


def test_process_exit_codes_and_streams(daemon: FakeDaemon) -> None:
    done = process("vm", "list")
    assert (done.returncode, done.stderr) == (0, "")
    done = process("vm", "show", "none")
    assert (done.returncode, done.stdout) == (3, "")
    done = process("vm", "exec", "web-1", "--", "echo", "--json", stdin=subprocess.DEVNULL)
    assert done.returncode == 3
    assert (done.stdout[:-1], done.stderr) == ("echo --json", "oops\n")
    done = process("nonsense", "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["exit_code"] == 2


def test_reader_that_has_enough(daemon: FakeDaemon) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        done = subprocess.run(
            [*BANGER, "vm", "list"], stdout=closed, stderr=subprocess.PIPE, timeout=20
        )
    assert done.returncode == 1
    assert done.stderr == b""


def test_output_that_is_full(daemon: FakeDaemon) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*BANGER, "vm", "list"], stdout=full, stderr=subprocess.PIPE, timeout=20
        )
    assert done.returncode == 1
    assert b"No space left" in done.stderr
    assert b"Traceback" not in done.stderr
