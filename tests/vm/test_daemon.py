"""The daemon's own life: starts, ends, and what its VMs see of it."""

from __future__ import annotations

import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from banger.client.connection import Connection
from banger.model.requests.events import ReadEvents
from banger.model.requests.vms import CreateVm
from tests.vm.conftest import NewInstance
from tests.vm.faults import Traces, await_stage
from tests.vm.instance import Instance, is_alive, wait_until

KEPT = ("pid", "id", "address", "mac", "tap", "state", "created_at")


def kept(instance: Instance, name: str) -> dict[str, object]:
    view = instance.show(name)
    return {key: view[key] for key in KEPT}


def test_status(instance: Instance, box: str) -> None:
    status = instance.status()
    assert status["pid"] == instance.daemon_pid
    assert status["version"]
    assert status["uptime_s"] > 0
    assert status["vms"]["running"] >= 1
    assert status["quarantined"] == {}
    assert status["bridge"] in instance.links()
    assert status["socket"] == str(instance.paths.socket)
    assert "running" in instance.run("daemon", "status").stdout


def test_vms_outlive_a_killed_daemon(instance: Instance, box: str, other: str) -> None:
    before = kept(instance, box), kept(instance, other)
    instance.signal_daemon(signal.SIGKILL)
    assert is_alive(int(str(before[0]["pid"])))
    assert instance.paths.socket.exists(), "the socket that is left must not be in the way"
    assert instance.sh(box, "echo at once") == "at once\n"
    assert (kept(instance, box), kept(instance, other)) == before
    assert instance.sh(other, "echo me too") == "me too\n"


def test_vms_outlive_a_stopped_daemon(instance: Instance, box: str) -> None:
    before = kept(instance, box)
    instance.run("daemon", "stop")
    assert instance.daemon_pid is None
    assert {link for link in instance.links() if link.startswith("tap-pool-")} == set()
    assert before["tap"] in instance.links()
    assert instance.sh(box, "echo again") == "again\n"
    assert kept(instance, box) == before


def test_sigterm_ends_it_soon_even_with_work_under_way(instance: Instance, box: str) -> None:
    before = kept(instance, box)
    running = instance.start("vm", "exec", box, "--", "sh", "-c", "echo up; exec sleep 600")
    assert running.stdout is not None
    assert running.stdout.readline() == b"up\n"
    instance.sh(box, "echo a line >/dev/ttyS0")
    follower = instance.start("vm", "logs", "-f", box)
    assert follower.stdout is not None
    assert follower.stdout.readline()
    with instance.connect() as watcher:
        watcher.begin(ReadEvents(follow=True))
        instance.status()
        assert instance.signal_daemon(signal.SIGTERM) < 2
    for client in (running, follower):
        _, stderr = client.communicate(timeout=5)
        assert client.returncode == 1
        assert b"the connection to the daemon was lost" in stderr
    assert kept(instance, box) == before


def test_a_create_under_way_is_undone_by_sigterm(instance: Instance, box: str) -> None:
    traces = Traces(instance)
    client = _hanging_create(instance)
    assert instance.signal_daemon(signal.SIGTERM) < 5
    client.communicate(timeout=5)
    assert client.returncode == 1
    instance.error("vm", "show", "doomed", code=3)
    traces.assert_none_since()


def _hanging_create(instance: Instance) -> subprocess.Popen[bytes]:
    """A create that waits for its client's end once the VMM runs."""
    with instance.connect() as events:
        events.begin(ReadEvents(follow=True))
        instance.status()
        client = instance.start("vm", "create", "--name", "doomed", "--inject-fault", "agent:hang")
        await_stage(events, "doomed", "agent")
    return client


def test_a_second_daemon_refuses(instance: Instance, box: str) -> None:
    pid = instance.daemon_pid
    done = instance.run("daemon", "run", code=None, timeout=20)
    assert done.returncode != 0
    assert f"a daemon is running already, pid {pid}" in done.stderr
    assert instance.daemon_pid == pid
    assert "runs already" in instance.run("daemon", "start").stdout
    assert instance.status()["pid"] == pid


def test_any_command_starts_it_and_several_at_once_start_one(new_instance: NewInstance) -> None:
    own = new_instance()
    assert "bangerd does not run" in own.error("daemon", "status", code=3)
    assert own.json("daemon", "stop") == {"stopped": False, "pid": None}
    assert own.daemon_pid is None
    with ThreadPoolExecutor(max_workers=8) as pool:
        listed = list(pool.map(lambda _: own.json("vm", "list"), range(8)))
    assert listed == [[]] * 8
    pid = own.daemon_pid
    assert pid is not None
    assert own.run("vm", "list").stderr == "there are no VMs; 'banger vm create' makes one\n"
    assert own.status()["pid"] == pid

    # With no VM running its end leaves nothing on the network.
    assert {"banger0", "lo"} < own.links()
    assert own.json("daemon", "stop") == {"stopped": True, "pid": pid}
    assert own.links() == {"lo"}
    assert not own.paths.socket.exists()


def test_stale_files_are_no_problem(new_instance: NewInstance) -> None:
    own = new_instance()
    own.paths.runtime.mkdir(mode=0o750)
    own.paths.socket.write_text("not even a socket")
    own.paths.lock.write_text("1\n")
    own.run("daemon", "start")
    own.signal_daemon(signal.SIGKILL)
    assert own.paths.socket.is_socket()
    own.run("daemon", "start")
    assert own.status()["vms"] == {}


def test_only_its_user_gets_to_the_socket(instance: Instance, box: str) -> None:
    assert instance.paths.socket.stat().st_mode & 0o777 == 0o660
    assert instance.paths.runtime.stat().st_mode & 0o007 == 0
    assert instance.paths.state.stat().st_mode & 0o077 == 0
    key = instance.paths.identity
    assert key.stat().st_mode & 0o077 == 0
    for path in instance.paths.vm_runtime.rglob("*"):
        assert path.parent.stat().st_mode & 0o077 == 0, path


def test_a_stop_with_its_vms(new_instance: NewInstance) -> None:
    own = new_instance()
    own.create("one")
    own.create("two", "--no-start")
    pid = own.show("one")["pid"]
    begun = time.monotonic()
    own.run("daemon", "stop", "--vms")
    assert time.monotonic() - begun < 30
    assert not is_alive(pid)
    assert own.links() == {"lo"}
    assert own.state("one") == own.state("two") == "stopped"
    assert own.show("one")["reason"] == ""


def test_a_connection_survives_another_ones_death(instance: Instance, box: str) -> None:
    with instance.connect() as first:
        second = Connection(instance.paths.socket)
        second.begin(CreateVm(name="orphan", start=False))
        second.__exit__()
        assert first.hello.pid == instance.daemon_pid
    wait_until(lambda: Path(f"/proc/{instance.daemon_pid}").exists(), 1, "the daemon")
    wait_until(
        lambda: instance.run("vm", "delete", "orphan", code=None).returncode in (0, 3), 5, "its end"
    )
