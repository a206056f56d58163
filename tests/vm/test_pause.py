"""Pause and resume, with a command in the guest all the while."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from tests.vm.instance import Instance, wait_until


def cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_a_pause_outlasts_the_daemon(instance: Instance, box: str) -> None:
    pid = instance.show(box)["pid"]
    assert instance.run("vm", "pause", box).stdout == f"{box} paused\n"
    error = instance.error("vm", "exec", box, "--", "true", code=4)
    assert f"it is paused ('banger vm resume {box}' lets it go on; legal now: delete" in error
    instance.signal_daemon(signal.SIGKILL)
    before = cpu_ticks(pid)
    view = instance.show(box)
    assert (view["state"], view["pid"]) == ("paused", pid)
    time.sleep(0.3)
    assert cpu_ticks(pid) - before <= 1
    assert instance.run("vm", "resume", box).stdout == f"{box} resumed\n"
    # Stopping and starting the daemon took longer than that.
    begun = time.time()
    assert begun - 0.5 < float(instance.sh(box, "date +%s.%N")) < time.time() + 0.5


def test_a_running_command_stands_still_and_goes_on(instance: Instance, box: str) -> None:
    client = instance.start(
        "vm", "exec", box, "--", "sh", "-c", "echo began; read line; echo $line"
    )
    assert client.stdout is not None and client.stdin is not None
    assert client.stdout.readline() == b"began\n"
    instance.run("vm", "pause", box)
    client.stdin.write(b"typed meanwhile\n")
    client.stdin.flush()
    time.sleep(0.3)
    assert client.poll() is None
    instance.run("vm", "resume", box)
    assert client.stdout.readline() == b"typed meanwhile\n"
    wait_until(lambda: client.poll() is not None, 5, "the command's end")
    assert client.returncode == 0
