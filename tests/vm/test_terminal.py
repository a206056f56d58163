"""``vm exec --tty``: a person at a terminal."""

from __future__ import annotations

import signal

from tests.vm.instance import Instance, wait_until
from tests.vm.terminal import terminal
from tests.vm.test_exec import gone


def test_size_and_resize(instance: Instance, box: str) -> None:
    script = "stty size; trap 'stty size' WINCH; echo ready; while :; do sleep 0.1; done"
    command = ("vm", "exec", "-t", box, "--", "sh", "-c", script)
    with terminal(instance, *command, rows=33, columns=101) as screen:
        screen.expect(r"33 101\r\n")
        screen.expect("ready")
        screen.resize(44, 132)
        screen.expect(r"44 132\r\n")


def test_a_shell_and_its_exit_code(instance: Instance, box: str) -> None:
    with terminal(instance, "vm", "exec", "-t", box, "--", "sh") as screen:
        before = screen.modes()
        screen.expect("# ")
        assert screen.modes() != before, "the terminal is not raw"
        screen.type("tty; echo $TERM-$((40+2))\r")
        screen.expect(r"/dev/pts/\d+\r\n")
        screen.expect(r"-42\r\n")
        screen.type("exit 7\r")
        assert screen.await_exit() == 7
        assert screen.modes() == before, "the terminal was left raw"


def test_keys_are_the_guests(instance: Instance, box: str) -> None:
    with terminal(instance, "vm", "exec", "-t", box, "--", "sh") as screen:
        screen.expect("# ")
        screen.type("sleep 4716\r")
        wait_until(lambda: not gone(instance, box, "sleep 4716"), 10, "the command")
        screen.type("\x03")
        screen.expect(r"\^C(\r\n)+# ")
        screen.type("echo back\r")
        screen.expect(r"back\r\n# ")
        screen.type("\x04")
        assert screen.await_exit() == 0
    assert gone(instance, box, "sleep 4716")


def test_the_terminal_is_restored_when_the_client_is_ended(instance: Instance, box: str) -> None:
    with terminal(
        instance, "vm", "exec", "-t", box, "--", "sh", "-c", "echo up; sleep 4717"
    ) as screen:
        before = screen.modes()
        screen.expect("up")
        screen.process.send_signal(signal.SIGTERM)
        assert screen.await_exit() == 128 + signal.SIGTERM
        assert screen.modes() == before
    assert gone(instance, box, "sleep 4717")


def test_without_a_terminal_here_the_guest_still_has_one(instance: Instance, box: str) -> None:
    done = instance.run("vm", "exec", "-t", box, "--", "sh", "-c", "test -t 0 && test -t 1 && tty")
    assert done.stdout.startswith("/dev/pts/")
