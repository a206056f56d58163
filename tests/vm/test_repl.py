"""The shell, as a person sits at it: on a pseudo-terminal, with a real daemon and a real guest."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Iterator

import pytest

from tests.vm.instance import Instance, wait_until
from tests.vm.screen import Screen
from tests.vm.terminal import Terminal, terminal

PROMPT = r"banger(\x1b\[[0-9;]*m| |[a-z0-9-])*>"


def enter(shell: Terminal, line: str) -> None:
    """As typed: the return key sends a carriage return."""
    shell.type(line + "\r")


def leave(shell: Terminal) -> None:
    """Until it goes: it asks once when something runs."""
    for _ in range(10):
        shell.type("\x04")
        with contextlib.suppress(AssertionError):
            assert shell.await_exit(3) == 0
            return
    raise AssertionError(f"it does not end; seen: {shell.seen!r}")


@pytest.fixture
def screen(instance: Instance) -> Iterator[Screen]:
    """What stands below the line is drawn in parts, so it is looked for on the screen."""
    instance.run("daemon", "start")
    with terminal(instance, rows=40, columns=110) as started:
        before, screen = started.modes(), Screen(started, 40, 110)
        started.expect(PROMPT)
        screen.shows("MiB in use", "no VMs")
        yield screen
        if started.process.poll() is None:
            started.type("\x03")
            started.expect(PROMPT)
            leave(started)
        assert started.modes() == before


@pytest.fixture
def shell(screen: Screen) -> Terminal:
    return screen.terminal


def test_commands_and_their_results(shell: Terminal, instance: Instance) -> None:
    enter(shell, "vm create line --no-start --label a=b")
    shell.expect(r"line is stopped at")
    enter(shell, "vm list line --json")
    shell.expect(r'"name": "line"')
    enter(shell, "vm show nosuch")
    shell.expect(r"banger: there is no VM 'nosuch'")
    enter(shell, "use line")
    shell.expect(r"line(\x1b\[[0-9;]*m)*>")
    enter(shell, "vm show")
    shell.expect(r"labels +a=b")
    enter(shell, "!echo from the $((40 + 2))")
    shell.expect("from the 42")
    enter(shell, "vm delete")
    shell.expect("line deleted")
    assert "line" not in instance.names()


def test_completion_shows_states(shell: Terminal, instance: Instance) -> None:
    """Also of a VM that came by another way, without a command of ours: by an event."""
    instance.create("elsewhere", "--no-start")
    shell.type("vm show else")
    shell.expect("stopped at")
    shell.type("\t")
    shell.type("\r")
    shell.expect(r"name +elsewhere")
    instance.run("vm", "delete", "elsewhere")


def test_long_commands_leave_the_prompt_usable(shell: Terminal, instance: Instance) -> None:
    before = instance.leased()
    enter(shell, "vm create hung --inject-fault agent:hang &")
    shell.expect(r"\[1\] vm create hung")
    shell.expect("agent …")  # its stages, live
    enter(shell, "jobs")
    shell.expect(r"\[1\] running +vm create hung")
    enter(shell, "version")
    shell.expect(r"banger \d+\.\d+")
    enter(shell, "fg")
    shell.expect("vm create hung")
    shell.type("\x03")
    shell.expect("interrupted")
    wait_until(lambda: "hung" not in instance.names(), 20, "the end of the VM")
    assert instance.leased() == before


def test_ctrl_c_undoes_the_command_in_front_only(shell: Terminal, instance: Instance) -> None:
    instance.create("stays", "--no-start")
    enter(shell, "vm create gone --inject-fault agent:hang")
    shell.expect("agent …")
    shell.type("\x03")
    shell.expect("interrupted")
    wait_until(lambda: instance.names() >= {"stays"} and "gone" not in instance.names(), 20, "undo")
    shell.type("half a line\x03")
    enter(shell, "version")
    shell.expect(r"banger \d+\.\d+")
    instance.run("vm", "delete", "stays")


def test_leaving_asks_when_something_runs(shell: Terminal, instance: Instance) -> None:
    enter(shell, "vm create late --inject-fault agent:hang &")
    shell.expect("agent …")
    shell.type("\x04")
    shell.expect("1 command runs still")
    enter(shell, "exit")
    assert shell.await_exit(60) == 0
    wait_until(lambda: "late" not in instance.names(), 20, "undo")


def test_the_terminal_is_lent_and_given_back(shell: Terminal, box: str) -> None:
    enter(shell, box)
    shell.expect(rf"{box}(\x1b\[[0-9;]*m)*>")
    enter(shell, "vm exec -t -- sh -c 'stty size; read line; echo got $line'")
    shell.expect("40 110")
    enter(shell, "it")
    shell.expect("got it")
    shell.expect(PROMPT)
    shell.resize(30, 90)
    enter(shell, "vm exec -t -- stty size")
    shell.expect("30 90")
    shell.expect(PROMPT)
    enter(shell, "vm exec -- echo plain")
    shell.expect("plain\r?\n")
    enter(shell, "vm exec -- sleep 1000")
    shell.expect(PROMPT)
    shell.type("\x03")
    shell.expect("interrupted")


def test_the_daemon_may_die(screen: Screen, shell: Terminal, instance: Instance) -> None:
    enter(shell, "vm create kept --no-start")
    shell.expect("kept is stopped")
    instance.signal_daemon(signal.SIGKILL)
    screen.shows("bangerd has gone")
    enter(shell, "vm list kept")
    shell.expect(r"kept +stopped")
    shell.expect("running|stopped")
    instance.run("vm", "delete", "kept")


def test_mistakes_are_seen_before_enter(screen: Screen, shell: Terminal) -> None:
    shell.type("vm lst ")
    screen.shows("did you mean")
    shell.type("\x03")


def test_long_output_is_paged(shell: Terminal) -> None:
    enter(shell, "schema")
    shell.expect(r"json-schema\.org")
    shell.type("q")
    shell.expect(PROMPT)
    enter(shell, "version")
    shell.expect(r"banger \d+\.\d+")


def test_the_default_vm_may_go(screen: Screen, shell: Terminal, instance: Instance) -> None:
    enter(shell, "vm create brief --no-start")
    shell.expect("brief is stopped")
    enter(shell, "brief")
    shell.expect(r"brief(\x1b\[[0-9;]*m)*>")
    instance.run("vm", "delete", "brief")
    screen.shows_no_more("banger brief>")
    enter(shell, "vm show")
    shell.expect("missing argument")


def test_history_and_pasted_lines(shell: Terminal, instance: Instance) -> None:
    shell.type("\x1b[200~version\nvm list\n\x1b[201~\r")
    shell.expect(r"banger \d+\.\d+")
    shell.expect("NAME|there are no VMs")
    history = instance.paths.state / "repl-history"
    assert re.search(r"^\+version$", history.read_text(), re.MULTILINE)
    assert history.stat().st_mode & 0o777 == 0o600


def test_without_a_terminal(instance: Instance) -> None:
    assert "Commands:" in instance.run(code=2).stderr
    assert "terminal" in instance.error("repl", code=2)


def test_key_help_and_vi(instance: Instance) -> None:
    instance.run("daemon", "start")
    instance.environ["BANGER_REPL_EDITING"] = "vi"
    try:
        with terminal(instance, "repl") as shell:
            shell.expect(PROMPT)
            shell.type("\x1bOP")
            shell.expect("send the command in front back")
            shell.type("nonsense\x1b0Cversion\r")
            shell.expect(r"banger \d+\.\d+")
            shell.process.send_signal(signal.SIGTERM)
            assert shell.await_exit() == 128 + signal.SIGTERM
    finally:
        del instance.environ["BANGER_REPL_EDITING"]
    assert os.environ.get("BANGER_REPL_EDITING") is None
