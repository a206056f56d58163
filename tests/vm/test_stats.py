"""``vm stats``, and what ``vm logs`` and ``vm wait`` can be asked for."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

from tests.vm.instance import Instance
from tests.vm.terminal import terminal

MIB = 1 << 20


def stats(instance: Instance, *names: str) -> dict[str, Any]:
    (found,) = instance.json("vm", "stats", *names)
    return dict(found)


def test_host_and_guest(instance: Instance, box: str) -> None:
    instance.run("vm", "wait", box, "--for", "healthy")
    assert instance.run("vm", "wait", box, "--for", "exec").stdout == f"{box} runs commands\n"
    found = stats(instance, box)
    shown = instance.show(box)
    vmm, guest = found["vmm"], found["guest"]
    assert (vmm["pid"], found["network"]["tap"]) == (shown["pid"], shown["tap"])
    assert vmm["cpu_s"] > 0.5
    assert 30 * MIB < vmm["pss_bytes"] <= vmm["resident_bytes"] < 2048 * MIB
    assert 0 <= found["cpu_percent"] < 1000
    assert found["disk_bytes"] == shown["disk_bytes"]
    assert found["network"]["sent_packets"] > 0
    assert found["guest_problem"] == ""
    assert guest["memory"]["total_bytes"] < shown["memory_mib"] * MIB
    assert {disk["path"] for disk in guest["disks"]} == {"/", "/root"}
    assert guest["processes"] > 5
    line = instance.run("vm", "stats").stdout.splitlines()[1]
    assert line.split()[0] in instance.names()

    watching = instance.start("vm", "stats", box, "--watch", "--interval", "0.2", "--json")
    assert watching.stdout is not None
    looks = [json.loads(watching.stdout.readline())[0] for _ in range(2)]
    assert looks[0]["at_s"] < looks[1]["at_s"]


def test_a_terminal_is_drawn_anew_and_a_pipe_is_not(instance: Instance, box: str) -> None:
    watch = ("vm", "stats", box, "--watch", "--interval", "0.2")
    with terminal(instance, *watch) as screen:
        for _ in range(2):
            screen.expect(r"\x1b\[H\x1b\[2J")
            screen.expect(f"{box} ")
        screen.process.send_signal(signal.SIGINT)
        assert screen.await_exit() == 130
    with terminal(instance, *watch, "--no-progress") as screen:
        for _ in range(2):
            screen.expect("NAME")
            screen.expect(f"{box} ")
        assert "\x1b" not in screen.seen
        screen.process.send_signal(signal.SIGINT)
        assert screen.await_exit() == 130


def test_a_guest_that_does_not_answer_shows_the_hosts_side(instance: Instance, box: str) -> None:
    pid = instance.show(box)["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        found = stats(instance, box)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert found["vmm"]["pid"] == pid
    assert found["guest"] is None
    assert "does not answer within 2 s" in found["guest_problem"]
    assert stats(instance, box)["guest"] is not None


def test_a_vm_without_a_vmm(instance: Instance) -> None:
    instance.create("cold", "--no-start")
    found = stats(instance, "cold")
    assert (found["state"], found["vmm"], found["guest"]) == ("stopped", None, None)
    assert instance.run("vm", "stats", "cold").stdout.splitlines()[1].startswith("cold  -")
    instance.run("vm", "delete", "cold")
    instance.error("vm", "stats", "cold", code=3)
    instance.error("vm", "stats", "--interval", "0", code=2)


def test_logs(instance: Instance, box: str) -> None:
    instance.sh(box, "echo marker-old >/dev/ttyS0; sleep 2.5")
    begun = float(instance.tool("date", "+%s.%N"))
    instance.sh(box, "echo marker-since >/dev/ttyS0; sleep 0.3")
    recent = instance.run("vm", "logs", box, "--since", f"{_ago(instance, begun):.3f}s").stdout
    assert "marker-since" in recent
    assert "marker-old" not in recent
    lines = instance.run("vm", "logs", box, "--grep", "marker-.*e$").stdout
    assert lines.splitlines() == ["marker-since"]
    document = instance.json("vm", "logs", box, "--stage", "agent")
    assert {event["stage"] for event in document["events"]} == {"agent"}
    assert "vmm took" in instance.run("vm", "logs", box, "--stage", "all").stdout
    instance.error("vm", "logs", box, "--grep", "(", code=2)
    instance.error("vm", "logs", box, "--since", "soon", code=2)


def _ago(instance: Instance, moment: float) -> float:
    return float(instance.tool("date", "+%s.%N")) - moment + 0.5
