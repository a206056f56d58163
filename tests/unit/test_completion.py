"""What may come next in a line; and real shells that ask on Tab."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest
from hypothesis import given
from hypothesis import strategies as st

from banger.cli.complete import complete
from banger.cli.names import of_images, of_vms
from banger.cli.plugins import Plugins
from banger.cli.words import quoted, split, words_of
from banger.kernel.errors import UsageError
from banger.model.command import Completion
from banger.model.requests.images import ListImages
from banger.model.requests.plugins import GetInterface, Interface
from banger.model.requests.vms import ListVms
from banger.model.vm import VmState
from tests.unit.command_line import Cli, view
from tests.unit.fake_daemon import FakeDaemon, serving
from tests.unit.test_cli_plugins import INTERFACE

VMS = [view("web-1", app="web"), view("web-2", VmState.STOPPED, app="web"), view("db", stage="x")]


class There:
    """Three VMs, and two images by name."""

    def named(self, kind: Completion) -> Any:
        match kind:
            case Completion.VM | Completion.LABEL | Completion.LABEL_KEY:
                return of_vms(VMS, kind)
            case _:
                return of_images([])


def offered(line: str, interface: Interface = INTERFACE) -> list[str]:
    *words, word = line.split(" ")
    found = complete([w for w in words if w], word, Plugins(lambda: interface), There())
    return [candidate.text for candidate in found]


@pytest.mark.parametrize(
    ("line", "some"),
    [
        ("", {"vm", "image", "doctor", "help", "dns"}),
        ("v", {"vm", "version"}),
        ("vm ", {"create", "list", "port"}),
        ("vm port ", {"add", "list"}),
        ("vm s", {"show", "ssh", "start", "stop", "set", "stats"}),
        ("vm show ", {"web-1", "web-2", "db"}),
        ("vm show w", {"web-1", "web-2"}),
        ("vm delete web-1 ", {"web-2", "db"}),
        ("vm create --", {"--image", "--vcpus", "--nat", "--no-nat", "--json", "--help"}),
        ("vm create --egress ", {"all", "none"}),
        ("vm create --egress=", {"--egress=all", "--egress=none"}),
        ("vm list --label ", {"app=web", "stage=x"}),
        ("vm set --unlabel ", {"app", "stage"}),
        ("vm wait web-1 --for s", {"ssh", "stopped"}),
        ("vm cp ", {"web-1:", "db:"}),
        ("daemon start --set vm.i", {"vm.image="}),
        ("daemon start --set capabilities.", {"capabilities.nat.pool="}),
        ("daemon start --set qemu.accelerator=", {"qemu.accelerator=kvm"}),
        ("help vm cr", {"create"}),
        ("completion ", {"bash", "zsh", "fish"}),
        ("image import t", {"tar"}),
        ("vm exec w", {"web-1", "web-2"}),
    ],
)
def test_what_is_offered(line: str, some: set[str]) -> None:
    assert some <= set(offered(line))


@pytest.mark.parametrize(
    "line",
    [
        "nonsense ",
        "vm nonsense ",
        "complet" + "e -",
        "vm show web-1 ",
        "vm create --vcpus ",
        "vm exec web-1 -- l",
        "vm create --nonsense=",
        "image list ",
    ],
)
def test_nothing_is_offered(line: str) -> None:
    assert [text for text in offered(line) if not text.startswith("-")] == []


def test_what_was_given_is_not_offered_again() -> None:
    assert "--image" not in offered("vm create --image debian --")
    assert "--label" in offered("vm create --label a=b --")
    assert "web-1" not in offered("vm delete web-1 ")
    assert "complete" not in offered("")
    assert "--inject-fault" not in offered("vm create --")


def test_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one two.tar").touch()
    (tmp_path / "only").mkdir()
    (tmp_path / ".hidden").touch()
    monkeypatch.chdir(tmp_path)
    assert offered("image export debian o") == ["one two.tar", "only/"]
    assert offered("image export debian ") == ["one two.tar", "only/"]
    assert offered(f"image export debian {tmp_path}/.") == [f"{tmp_path}/.hidden"]
    assert offered("image export debian none/") == []


# --- words ---


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", []),
        ("a b", ["a", "b"]),
        ("  a\t b ", ["a", "b"]),
        ("'a b' \"c d\"", ["a b", "c d"]),
        ("a'b'c", ["abc"]),
        (r"a\ b", ["a b"]),
        (r'"a\"b\c"', [r'a"b\c']),
        ("''", [""]),
        ("a # b", ["a"]),
        ("a#b", ["a#b"]),
    ],
)
def test_words(line: str, words: list[str]) -> None:
    assert split(line) == words


@pytest.mark.parametrize("line", ["'a", '"a', "a\\"])
def test_words_that_are_open(line: str) -> None:
    assert words_of(line)[-1].text == "a"
    with pytest.raises(UsageError, match="not closed"):
        split(line)


@pytest.mark.parametrize("text", ["", "a b", "it's", "ü", "$x", "a=b", "*", "\\"])
def test_quoting_is_undone_by_splitting(text: str) -> None:
    assert split(quoted(text)) == [text]


@given(st.text(max_size=40))
def test_any_line_has_words(line: str) -> None:
    """In their order, each within the line; a whole line comes back from its words."""
    at = 0
    for word in words_of(line):
        assert at <= word.start < word.end <= len(line)
        at = word.end
    with contextlib.suppress(UsageError):
        words = split(line)
        assert split(" ".join(map(quoted, words))) == words


# --- real shells ---


def answer(request: Any) -> Iterator[object]:
    match request:
        case ListVms():
            yield VMS
        case ListImages():
            yield []
        case GetInterface():
            yield INTERFACE


@pytest.fixture
def daemon(home: Path) -> Iterator[FakeDaemon]:
    with serving(home / "banger" / "bangerd.sock", answer) as started:
        yield started


STARTS = {
    "bash": ["--norc", "--noprofile"],
    "zsh": ["-f"],
    "fish": ["--no-config"],
}
LOADS = {
    "bash": "source <(banger completion bash)",
    "zsh": "source <(banger completion zsh)",
    "fish": "banger completion fish | source",
}


@pytest.fixture(params=STARTS)
def shell(request: Any, home: Path, daemon: FakeDaemon) -> Iterator[pexpect.spawn[str]]:
    """With the script loaded as its first lines say."""
    name = request.param
    environ = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(home),
        "TERM": "xterm" if name == "fish" else "dumb",
        "PS1": "ready> ",
        "fish_greeting": "",
    }
    child = pexpect.spawn(
        name, STARTS[name], env=environ, encoding="utf-8", timeout=20, dimensions=(30, 200)
    )
    child.sendline(LOADS[name])
    child.sendline("echo load''ed")
    child.expect("loaded\r")
    yield child
    child.close(force=True)


def test_tab_in_a_real_shell(shell: pexpect.spawn[str]) -> None:
    for line, wanted in (
        ("banger vm cre", "create "),
        ("banger vm show d", "db "),
        ("banger vm create --egress a", "all "),
        ("banger vm create --no-na", "--no-nat "),
        ("banger vm list --label app=", "app=web "),
        ("banger vm cp web-1", "web-1:"),
        ("banger help vm po", "port "),
    ):
        shell.send(line + "\t")
        shell.expect_exact(wanted.strip())
        # The line as a whole, seen by the shell: comment it out and run it.
        shell.send("\x01echo '<' \x05 '>'\r")
        shell.expect(r"< ([^\r\x1b']*) >")
        assert isinstance(shell.match, re.Match)
        assert shell.match.group(1).split()[-1] == wanted.split()[-1]


def test_tab_lists(shell: pexpect.spawn[str]) -> None:
    """With the states, where the shell has a place for them."""
    wanted = r"web-1 +web-2" if "bash" in str(shell.command) else r"stopped at 172\.31\.0\.5"
    shell.send("banger vm show web-")
    for _ in range(6):
        # One Tab, or two that are no single keystroke.
        shell.send("\t")
        if shell.expect([wanted, pexpect.TIMEOUT], timeout=3) == 0:
            return
    pytest.fail(f"no list: {shell.before!r}")


def test_what_a_shell_is_told(daemon: FakeDaemon, cli: Cli) -> None:
    assert cli("complete", "--shell", "fish", "--", "vm", "show", "web-2") == 0
    assert cli.out == "web-2\tstopped at 172.31.0.5, debian\n"
    assert cli("complete", "--shell", "bash", "--breaks", "=:", "--", "banger vm cp db") == 0
    assert cli.out == "db:\n"
    line = "banger vm list --label app=w"
    assert cli("complete", "--shell", "bash", "--breaks", "=:", "--", line) == 0
    assert cli.out == "web \n"
    assert cli("complete", "--shell", "bash", "--", line) == 0
    assert cli.out == "app=web \n"


def test_plugins_are_known_without_a_daemon(home: Path, cli: Cli) -> None:
    """As they were when they were last told."""
    assert cli("complete", "--", "vm", "create", "--no-na") == 0
    assert cli.out == ""
    with serving(home / "banger" / "bangerd.sock", answer):
        assert cli("help", "vm") == 0
    (home / "banger" / "bangerd.sock").unlink()
    assert cli("complete", "--", "vm", "create", "--no-na") == 0
    assert cli.out.startswith("--no-nat\t")
    (home / "banger" / "interface.json").write_text("{broken")
    assert cli("complete", "--", "vm", "create", "--no-na") == 0
    assert cli.out == ""


def test_without_a_daemon_there_are_commands_still(home: Path, cli: Cli) -> None:
    assert cli("complete", "--", "vm", "sh") == 0
    assert cli.out.splitlines()[0].startswith("show\t")
    assert cli("complete", "--", "vm", "show", "") == 0
    assert cli.out == ""
