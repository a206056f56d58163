"""``vm exec``: streams, exit codes, signals, and what happens when somebody leaves."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from banger.model.requests.exec import Exec
from tests.vm.instance import Instance, wait_for_item, wait_until

BIG_BYTES = 24 << 20
CHANNELS = 7
"""Commands that can run in a guest at once."""


def gone(instance: Instance, box: str, marker: str) -> bool:
    """No process of the guest has the marker on its command line."""
    # The bracket keeps the search from finding itself.
    pattern = f"[{marker[0]}]{marker[1:]}"
    return not instance.sh(box, f"pgrep -f '{pattern}' || true").strip()


def test_streams_and_exit_code(instance: Instance, box: str) -> None:
    done = instance.run(
        "vm", "exec", box, "--", "sh", "-c", "echo out; echo err >&2; cat; exit 41",
        code=41, input="typed\n",
    )  # fmt: skip
    assert done.stdout == "out\ntyped\n"
    assert done.stderr == "err\n"


def test_json_holds_everything(instance: Instance, box: str) -> None:
    result = instance.json(
        "vm", "exec", box, "--", "sh", "-c", "echo a; echo b >&2; exit 3", code=3
    )
    assert result == {
        "name": box,
        "code": 3,
        "signal": 0,
        "timed_out": False,
        "stdout": "a\n",
        "stderr": "b\n",
    }


def test_big_output(instance: Instance, box: str) -> None:
    script = (
        f"head -c {BIG_BYTES} /dev/urandom | tee /dev/stderr | sha256sum | cut -d' ' -f1 >/tmp/sum"
    )
    done = instance.run_bytes("vm", "exec", box, "--", "sh", "-c", script)
    assert done.stdout == b""
    assert len(done.stderr) == BIG_BYTES
    wanted = instance.sh(box, "cat /tmp/sum").strip()
    assert hashlib.sha256(done.stderr).hexdigest() == wanted


def test_big_input(instance: Instance, box: str) -> None:
    data = os.urandom(BIG_BYTES)
    done = instance.run_bytes("vm", "exec", box, "--", "sha256sum", input=data)
    assert done.stdout.decode().split()[0] == hashlib.sha256(data).hexdigest()


def test_both_ways_at_once(instance: Instance, box: str) -> None:
    data = os.urandom(4 << 20)
    assert instance.run_bytes("vm", "exec", box, "--", "cat", input=data).stdout == data


def test_the_command_sees_its_stdin_end(instance: Instance, box: str) -> None:
    assert instance.run("vm", "exec", box, "--", "wc", "-c", input="").stdout.strip() == "0"


def test_input_that_nobody_reads(instance: Instance, box: str) -> None:
    done = instance.run_bytes("vm", "exec", box, "--", "echo", "done", input=bytes(3 << 20))
    assert done.stdout == b"done\n"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_ended_by_a_signal(instance: Instance, box: str, number: signal.Signals) -> None:
    instance.sh(box, f"kill -{int(number)} $$", code=128 + number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_are_passed_on(instance: Instance, box: str, number: signal.Signals) -> None:
    short = number.name.removeprefix("SIG")
    script = f"trap 'echo got {short}; exit 9' {short}; echo ready; while :; do sleep 0.1; done"
    running = instance.start("vm", "exec", box, "--", "sh", "-c", script)
    assert running.stdout is not None
    assert running.stdout.readline() == b"ready\n"
    running.send_signal(number)
    out, _ = running.communicate(timeout=20)
    assert (running.returncode, out) == (9, f"got {short}\n".encode())


def test_interrupt_ends_a_command_without_a_trap(instance: Instance, box: str) -> None:
    script = "echo ready; exec sleep 4711"
    running = instance.start("vm", "exec", box, "--", "sh", "-c", script)
    assert running.stdout is not None
    assert running.stdout.readline() == b"ready\n"
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=20)
    assert running.returncode == 128 + signal.SIGINT
    assert gone(instance, box, "sleep 4711")


def test_environment_directory_and_user(instance: Instance, box: str) -> None:
    script = "echo $COLOUR/$(pwd)/$(id -un)/$HOME"
    done = instance.run(
        "vm", "exec", box, "-e", "COLOUR=a=b c", "-w", "/usr/lib", "-u", "nobody",
        "--", "sh", "-c", script,
    )  # fmt: skip
    assert done.stdout == "a=b c//usr/lib/nobody//nonexistent\n"
    assert instance.sh(box, "pwd; id -u") == "/root\n0\n"


def test_arguments_arrive_as_they_are(instance: Instance, box: str) -> None:
    odd = ["", " a  b ", "'\"$HOME\\", "--json", "-t", "--", "\n", "ü€😀"]
    done = instance.run("vm", "exec", box, "--", "printf", "<%s>", *odd)
    assert done.stdout == "".join(f"<{argument}>" for argument in odd)


def test_what_can_not_be_run(instance: Instance, box: str) -> None:
    assert "no-such-program" in instance.error("vm", "exec", box, "--", "no-such-program", code=127)
    instance.error("vm", "exec", box, "--", "/etc/passwd", code=126)
    assert "martian" in instance.error("vm", "exec", box, "-u", "martian", "--", "true", code=1)
    assert "/no/such" in instance.error("vm", "exec", box, "-w", "/no/such", "--", "true", code=1)
    instance.error("vm", "exec", box, "-e", "NOVALUE", "--", "true", code=2)
    document = instance.json("vm", "exec", box, "--", "no-such-program", code=127)
    assert document["error"]["kind"] == "CommandNotFound"


def test_timeout(instance: Instance, box: str) -> None:
    begun = time.monotonic()
    instance.run("vm", "exec", box, "--timeout", "1", "--", "sleep", "4712", code=124)
    assert 1 <= time.monotonic() - begun < 6
    assert gone(instance, box, "sleep 4712")


def test_timeout_of_a_command_that_ignores_it(instance: Instance, box: str) -> None:
    script = "trap '' TERM; echo begun; while :; do sleep 0.2; done"
    begun = time.monotonic()
    done = instance.run("vm", "exec", box, "--timeout", "1", "--", "sh", "-c", script, code=124)
    assert done.stdout == "begun\n"
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize("count", [4, CHANNELS])
def test_several_at_once(instance: Instance, box: str, count: int) -> None:
    def one(number: int) -> str:
        return instance.sh(box, f"cat; sleep 2; echo {number}", input=f"input {number} ")

    begun = time.monotonic()
    with ThreadPoolExecutor(max_workers=count) as pool:
        answers = list(pool.map(one, range(count)))
    assert answers == [f"input {number} {number}\n" for number in range(count)]
    assert time.monotonic() - begun < 2 * count, "they ran one after another"


def test_one_more_than_there_are_channels(instance: Instance, box: str) -> None:
    """It waits for a channel; when none becomes free it is told so."""
    busy = [
        instance.start("vm", "exec", box, "--", "sh", "-c", "echo up; exec sleep 600")
        for _ in range(CHANNELS)
    ]
    try:
        for running in busy:
            assert running.stdout is not None
            assert running.stdout.readline() == b"up\n"
        waiting = instance.start("vm", "exec", box, "--", "echo", "my turn")
        time.sleep(0.5)
        assert waiting.poll() is None
        busy[0].send_signal(signal.SIGTERM)
        assert waiting.communicate(timeout=15)[0] == b"my turn\n"

        # Short questions have a channel of their own.
        assert instance.json("vm", "wait", box, "--timeout", "5")["state"] == "running"
        refill = instance.start("vm", "exec", box, "--", "sh", "-c", "echo up; exec sleep 600")
        busy.append(refill)
        assert refill.stdout is not None
        assert refill.stdout.readline() == b"up\n"
        message = instance.error("vm", "exec", box, "--", "true", code=1)
        assert f"all {CHANNELS} channels to the guest are in use" in message
    finally:
        for running in busy:
            running.kill()
            running.communicate()
    wait_until(lambda: gone(instance, box, "sleep 600"), 10, "the end of the commands")


def test_a_client_that_is_killed(instance: Instance, box: str) -> None:
    """Its command ends, and each of its channels can be used again."""
    killed = []
    for _ in range(CHANNELS):
        script = "echo up; yes | head -c 100000000 | tail -c 1 >/dev/null; exec sleep 4713"
        running = instance.start("vm", "exec", box, "--", "sh", "-c", script)
        assert running.stdout is not None
        assert running.stdout.readline() == b"up\n"
        running.kill()
        running.communicate()
        killed.append(running)
    wait_until(lambda: gone(instance, box, "sleep 4713"), 10, "the end of the commands")
    with ThreadPoolExecutor(max_workers=CHANNELS) as pool:
        scripts = [f"sleep 0.3; echo {number}" for number in range(CHANNELS)]
        answers = list(pool.map(lambda script: instance.sh(box, script), scripts))
    assert answers == [f"{number}\n" for number in range(CHANNELS)]


def test_a_client_that_is_killed_amid_output(instance: Instance, box: str) -> None:
    for _ in range(3):
        running = instance.start("vm", "exec", box, "--", "yes", "flood-4714")
        assert running.stdout is not None
        assert running.stdout.readline() == b"flood-4714\n"
        running.kill()
        running.communicate()
    wait_until(lambda: gone(instance, box, "flood-4714"), 10, "the end of the commands")
    assert instance.sh(box, "echo clean") == "clean\n"


def test_a_client_that_reads_nothing(instance: Instance, box: str) -> None:
    """It is slowed down; others are not, and the daemon does not fill its memory."""
    with instance.connect() as connection:
        connection.begin(Exec(name=box, argv=["yes"]))
        wait_for_item(connection)
        time.sleep(1)
        begun = time.monotonic()
        assert instance.sh(box, "echo quick") == "quick\n"
        assert time.monotonic() - begun < 3
        assert resident_mib(instance.daemon_pid) < 400
    wait_until(lambda: gone(instance, box, "yes"), 10, "the end of the command")


def resident_mib(pid: int | None) -> int:
    assert pid is not None
    done = subprocess.run(
        ["ps", "-o", "rss=", "-p", str(pid)], check=True, capture_output=True, text=True
    )
    return int(done.stdout) >> 10


def test_a_child_in_the_background_holds_nothing_up(instance: Instance, box: str) -> None:
    begun = time.monotonic()
    assert instance.sh(box, "sleep 4715 & echo over", timeout=20) == "over\n"
    assert time.monotonic() - begun < 5
    instance.sh(box, "pkill -f 'sleep 471[5]'; true")
