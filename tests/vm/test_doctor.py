"""``banger doctor`` on a real host: all is well, what is planted is found, what is ours stays."""

from __future__ import annotations

import os
import signal
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.vm.conftest import NewInstance
from tests.vm.instance import Instance, is_alive, wait_until
from tests.vm.test_host_not_ready import assert_nothing_left

MUST_BE_WELL = {
    *("daemon", "vmm", "vmm-abilities", "rights", "agent", "image", "network", "firewall"),
    *("records", "vms", "plugins"),
    *("leaks.processes", "leaks.taps", "leaks.firewall", "leaks.sockets", "leaks.directories"),
    *("leaks.mounts", "leaks.seeds"),
}
STRAY_ID = "deadbeef" * 4
SHORT = STRAY_ID[:8]


def findings(own: Instance, *flags: str, code: int = 0) -> dict[str, list[dict[str, Any]]]:
    """By check."""
    found: dict[str, list[dict[str, Any]]] = {}
    for finding in own.json("doctor", *flags, code=code):
        found.setdefault(finding["check"], []).append(finding)
    return found


def leaks(own: Instance, *flags: str) -> list[dict[str, Any]]:
    """What ``--leaks`` does not find well."""
    return [
        finding
        for check, found in findings(own, "--leaks", *flags).items()
        for finding in found
        if check.startswith("leaks.") and finding["level"] != "ok"
    ]


def test_all_is_well(instance: Instance, box: str) -> None:
    found = findings(instance, "--leaks")
    assert found.keys() >= MUST_BE_WELL
    for check in MUST_BE_WELL:
        assert [f for f in found[check] if f["level"] != "ok"] == []
    (taps,) = found["leaks.taps"]
    assert "idle TAPs" in taps["summary"]
    (processes,) = found["leaks.processes"]
    running = sum(view["state"] == "running" for view in instance.json("vm", "list"))
    assert processes["summary"].startswith(f"{running} VMMs, each of a VM")


def test_every_warning_has_a_remedy(instance: Instance, box: str) -> None:
    for check, found in findings(instance, "--leaks").items():
        for finding in found:
            assert finding["summary"], check
            assert bool(finding["remedy"]) == (finding["level"] != "ok"), finding


def test_as_text(instance: Instance, box: str) -> None:
    lines = instance.run("doctor").stdout.splitlines()
    assert any(line.split()[:2] == ["ok", "vmm"] for line in lines)


@contextmanager
def stray_vmm(own: Instance) -> Iterator[subprocess.Popen[bytes]]:
    """A QEMU that listens where a VM's sockets are, and that no record knows."""
    directory = own.paths.vm_runtime / SHORT
    directory.mkdir(mode=0o700)
    argv = ["qemu-system-x86_64", "-machine", "none", "-nodefaults", "-display", "none"]
    argv += ["-uuid", str(uuid.UUID(STRAY_ID))]
    argv += ["-qmp", f"unix:{directory}/qmp.sock,server=on,wait=off"]
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL)
    try:
        wait_until((directory / "qmp.sock").exists, 10, "QEMU's socket")
        yield process
    finally:
        process.kill()
        process.wait()


def test_what_belongs_to_no_vm_is_found_and_removed(new_instance: NewInstance) -> None:
    own = new_instance()
    pid = own.create("mine")["pid"]
    own.tool("ip", "tuntap", "add", f"tap-{SHORT}", "mode", "tap")
    own.tool("ip", "link", "set", f"tap-{SHORT}", "master", "banger0")
    unfinished = own.paths.vms / ".deleting-gone"
    unfinished.mkdir()
    with stray_vmm(own) as stray:
        summaries = [finding["summary"] for finding in leaks(own)]
        for thing in (f"process {stray.pid} ", f"tap-{SHORT}", f"vm/{SHORT}", str(unfinished)):
            assert sum(thing in summary for summary in summaries) == 1, (thing, summaries)
        assert len(summaries) == 4
        # Looking has removed nothing.
        assert stray.poll() is None
        assert f"tap-{SHORT}" in own.links()

        fixed = findings(own, "--leaks", "--fix")
        assert stray.wait(5) == -signal.SIGKILL
        done = [f["fixed"] for found in fixed.values() for f in found if f["fixed"]]
        assert len(done) == 4
        assert f"ended process {stray.pid}" in done
    assert f"tap-{SHORT}" not in own.links()
    assert not (own.paths.vm_runtime / SHORT).exists()
    assert not unfinished.exists()
    assert leaks(own) == []
    assert own.show("mine")["pid"] == pid
    own.sh("mine", "true")


def test_a_vm_in_the_making_is_no_leak(new_instance: NewInstance) -> None:
    """Nor is one that is being deleted; --fix at every moment of its life harms it not."""
    own = new_instance()
    own.run("daemon", "start")
    for arguments in (("vm", "create", "--name", "x"), ("vm", "delete", "x")):
        client = own.start(*arguments)
        while client.poll() is None:
            assert leaks(own, "--fix") == []
        assert client.returncode == 0
        assert leaks(own) == []


def test_a_vm_whose_record_is_unreadable_is_left_alone(new_instance: NewInstance) -> None:
    own = new_instance()
    pid = own.create("x")["pid"]
    own.signal_daemon(signal.SIGKILL)
    good = own.record("x").read_bytes()
    own.record("x").write_bytes(b"{")
    try:
        own.run("daemon", "start")
        found = findings(own, "--leaks", "--fix")
        (record,) = [f for f in found["records"] if f["level"] == "warning"]
        assert str(own.record("x")) in record["summary"]
        assert is_alive(pid)
        assert len(own.leased()) == 1
        assert list(own.paths.vm_runtime.iterdir())
        own.signal_daemon(signal.SIGTERM)
    finally:
        own.record("x").write_bytes(good)
    assert own.show("x")["pid"] == pid
    own.sh("x", "true")


@pytest.fixture
def without_qemu(tmp_path: Path) -> str:
    """A PATH that leads to all programs but QEMU."""
    for directory in os.environ["PATH"].split(":"):
        for program in Path(directory).glob("*"):
            link = tmp_path / program.name
            if not program.name.startswith("qemu") and not link.is_symlink():
                link.symlink_to(program)
    return str(tmp_path)


def test_without_qemu(new_instance: NewInstance, without_qemu: str) -> None:
    own = new_instance(PATH=without_qemu)
    for arguments in (("--name", "x"), ()):
        message = own.error("vm", "create", *arguments, code=5)
        assert "qemu-system-x86_64" in message
        assert "Debian package qemu-system-x86" in message
    assert_nothing_left(own)
    # Refused before the first stage, so not even undone.
    assert not own.paths.event_log.exists()
    own.create("y", "--no-start")
    assert own.state("y") == "stopped"
    assert "qemu-system-x86_64" in own.error("vm", "start", "y", code=5)
    assert own.state("y") == "stopped"
    (vmm,) = findings(own, code=1)["vmm"]
    assert vmm["level"] == "failed"
    assert "qemu-system-x86" in vmm["remedy"]
    # Nothing wrong was remembered about KVM meanwhile.
    assert not (own.paths.runtime / "accelerator").exists()
    own.run("vm", "delete", "y")
