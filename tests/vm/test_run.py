"""``vm run``: whatever happens, nothing of the VM is left."""

from __future__ import annotations

import signal
import subprocess

import pytest

from tests.vm.instance import Instance, is_alive, wait_until
from tests.vm.terminal import terminal


def left(instance: Instance) -> set[str]:
    return {name for name in instance.names() if name.startswith("run-")}


def begun(instance: Instance, *arguments: str) -> subprocess.Popen[bytes]:
    """A client whose command has said a word, and waits for input."""
    client = instance.start("vm", "run", *arguments, "--", "sh", "-c", "echo begun; cat")
    assert client.stdout is not None
    assert client.stdout.readline() == b"begun\n"
    return client


def test_streams_and_exit_code(instance: Instance) -> None:
    done = instance.run(
        "vm", "run", "--", "sh", "-c", "echo out; echo err >&2; cat; exit 41",
        code=41, input="typed\n",
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("out\ntyped\n", "err\n")
    assert not left(instance)


def test_a_terminal(instance: Instance) -> None:
    with terminal(instance, "vm", "run", "--", "sh", "-c", "tty; read line; exit 6") as screen:
        before = screen.modes()
        screen.expect(r"/dev/pts/\d+\r\n")
        assert screen.modes() != before, "the terminal is not raw"
        screen.type("\r")
        assert screen.await_exit() == 6
        assert screen.modes() == before, "the terminal was left raw"
    assert not left(instance)


def test_a_client_that_is_killed(instance: Instance) -> None:
    client = begun(instance)
    (name,) = left(instance)
    pid = instance.show(name)["pid"]
    client.kill()
    wait_until(lambda: not left(instance), 5, "the deletion")
    assert not is_alive(pid)


def test_a_daemon_that_is_killed(instance: Instance) -> None:
    client = begun(instance, "--name", "run-named")
    assert left(instance) == {"run-named"}
    instance.signal_daemon(signal.SIGKILL)
    assert client.wait(10) == 1
    wait_until(lambda: not left(instance), 5, "the deletion by the next daemon")


@pytest.mark.parametrize("stage", ["record", "prepare", "vmm"])
def test_ctrl_c_while_it_is_made(instance: Instance, stage: str) -> None:
    client = instance.start("vm", "run", "--inject-fault", f"{stage}:hang", "--", "true")
    wait_until(lambda: bool(left(instance)), 20, "the beginning")
    client.send_signal(signal.SIGINT)
    assert client.wait(20) == 130
    # The client waited for the end of it.
    assert not left(instance)
    assert not instance.leased() - {view["tap"] for view in instance.json("vm", "list")}


def test_a_guest_that_shuts_down(instance: Instance) -> None:
    done = instance.run(
        "vm", "run", "--", "sh", "-c", "echo o >/proc/sysrq-trigger; sleep 60", code=1
    )
    assert "lost" in done.stderr
    assert not left(instance)
