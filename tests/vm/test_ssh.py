"""``vm ssh``: the pinned host key, the guest's identity, the reminder."""

from __future__ import annotations

import re
import subprocess
import time

import pytest

from tests.vm.instance import Instance
from tests.vm.terminal import terminal

BOOT_S = "120"


@pytest.fixture
def ready(instance: Instance, box: str, other: str) -> None:
    """Both shared VMs answer ssh."""
    for name in (box, other):
        instance.run("vm", "wait", name, "--for", "ssh", "--timeout", BOOT_S)


def test_a_command_and_its_exit_code(instance: Instance, box: str, ready: None) -> None:
    done = instance.run("vm", "ssh", box, "--", "hostname; exit 9", code=9, input="")
    assert done.stdout == f"{box}\n"
    assert done.stderr == "", "a warning of ssh, or a reminder nobody asked for"
    assert instance.run("vm", "ssh", box, "--", "wc", "-c", input="four").stdout.strip() == "4"


def test_only_its_own_host_key_is_accepted(
    instance: Instance, box: str, other: str, ready: None
) -> None:
    for name in (box, other):
        instance.run("vm", "ssh", name, "--", "true")
    directory = instance.paths.state / "ssh"
    identity = directory / "id_ed25519"
    assert identity.stat().st_mode & 0o077 == 0

    def plain_ssh(name: str, *, known_of: str) -> subprocess.CompletedProcess[str]:
        options = {
            "UserKnownHostsFile": directory / f"known_hosts-{known_of}",
            "HostKeyAlias": known_of,
            "StrictHostKeyChecking": "yes",
            "IdentityFile": identity,
            "BatchMode": "yes",
        }
        argv = ["ssh", "-F", "none"]
        for key, value in options.items():
            argv += ["-o", f"{key}={value}"]
        argv += [f"root@{instance.show(name)['address']}", "hostname"]
        return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)

    assert plain_ssh(box, known_of=box).stdout == f"{box}\n"
    refused = plain_ssh(other, known_of=box)
    assert (refused.returncode, refused.stdout) == (255, "")
    assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in refused.stderr


def test_a_guest_with_another_key_is_refused(instance: Instance, other: str, ready: None) -> None:
    swap = """
        cd /etc/ssh && mkdir kept && cp ssh_host_ed25519_key* kept/
        rm ssh_host_ed25519_key*
        ssh-keygen -q -t ed25519 -N '' -f ssh_host_ed25519_key
        systemctl restart ssh
    """
    back = "cd /etc/ssh && mv -f kept/* . && rmdir kept && systemctl restart ssh"
    instance.sh(other, swap)
    try:
        done = instance.run("vm", "ssh", other, "--", "hostname", code=255)
        assert done.stdout == ""
        assert "verification failed" in done.stderr
    finally:
        instance.sh(other, back)
    assert instance.run("vm", "ssh", other, "--", "hostname").stdout == f"{other}\n"


def test_two_vms_share_no_identity(instance: Instance, box: str, other: str) -> None:
    show = "sort -u /etc/ssh/ssh_host_*_key.pub | cut -d' ' -f2; cat /etc/machine-id"
    first, second = (set(instance.sh(name, show).split()) for name in (box, other))
    assert len(first) >= 2
    assert not first & second
    random = "head -c 16 /dev/urandom | od -An -tx1"
    assert instance.sh(box, random) != instance.sh(other, random)


def test_an_interactive_session_ends_with_a_reminder(
    instance: Instance, box: str, ready: None
) -> None:
    with terminal(instance, "vm", "ssh", box) as screen:
        screen.expect(rf"root@{box}:")
        screen.type("exit 4\r")
        screen.expect(rf"VM '{box}' is still running \(up \d+ s\); 'banger vm stop {box}' stops it")
        assert screen.await_exit() == 4


def test_the_reminder_counts_other_sessions(instance: Instance, box: str, ready: None) -> None:
    running = instance.start("vm", "exec", box, "--", "sh", "-c", "echo up; exec sleep 600")
    assert running.stdout is not None
    assert running.stdout.readline() == b"up\n"
    with terminal(instance, "vm", "ssh", box) as screen:
        screen.expect(rf"root@{box}:")
        screen.type("exit\r")
        match = screen.expect(r"is still running \(up \d+ s, (\d+) sessions? open\)")
        assert match[1] == "1"
        assert screen.await_exit() == 0


def test_ssh_to_a_stopped_vm(instance: Instance) -> None:
    instance.create("quiet", "--no-start")
    assert "it is stopped" in instance.error("vm", "ssh", "quiet", "--", "true", code=4)
    assert (
        "hands the terminal to ssh" in instance.run("vm", "ssh", "quiet", "--json", code=2).stdout
    )
    instance.run("vm", "delete", "quiet")


def test_a_deleted_vms_host_key_is_forgotten(instance: Instance, box: str, ready: None) -> None:
    """Its name can be another VM's soon."""
    instance.create("brief")
    client = instance.start("vm", "ssh", "brief", "--", "true")
    known = instance.paths.state / "ssh/known_hosts-brief"
    deadline = time.monotonic() + 10
    while not known.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    client.kill()
    assert re.fullmatch(r"brief ssh-ed25519 [\w+/=]+\n", known.read_text())
    instance.run("vm", "delete", "brief")
    assert not known.exists()
