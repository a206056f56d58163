"""``key show`` and ``key rotate`` with guests that run and guests that don't."""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from banger.kernel.errors import BangerError
from banger.kernel.message import Fault
from banger.model.requests.keys import RotateKey
from tests.vm.conftest import NewInstance
from tests.vm.instance import Instance, wait_until
from tests.vm.terminal import terminal

BOOT_S = "120"
FILE = "/root/.ssh/authorized_keys"
OF_A_USER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOfAUser own@laptop"


@pytest.fixture(scope="module")
def own(new_shared_instance: NewInstance) -> Instance:
    """An installation with a running VM, whose user has added a key."""
    own = new_shared_instance()
    own.create("up")
    own.sh("up", f"echo '{OF_A_USER}' >> {FILE}")
    return own


def identity(own: Instance) -> Path:
    return own.paths.identity


def blobs(own: Instance, name: str) -> list[str]:
    """The keys that root's file in the guest has."""
    words = (line.split() for line in own.sh(name, f"cat {FILE}").splitlines())
    return [word for line in words for word in line if word.startswith("AAAA")]


def blob(public: str) -> str:
    return public.split()[1]


def login(own: Instance, name: str, key: Path) -> subprocess.CompletedProcess[str]:
    options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "IdentitiesOnly=yes"]
    argv = [*own.argv()[:-1], "ssh", "-F", "none", "-o", "BatchMode=yes", "-i", str(key)]
    for option in options:
        argv += ["-o", option]
    argv += [f"root@{own.show(name)['address']}", "hostname"]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)


def test_rotation(own: Instance, tmp_path: Path) -> None:
    own.create("down")
    own.run("vm", "stop", "--force", "down")
    own.run("vm", "wait", "up", "--for", "ssh", "--timeout", BOOT_S)
    before = own.json("key", "show")
    assert before["vms"] == [
        {"vm": "down", "status": "next-start", "problem": ""},
        {"vm": "up", "status": "confirmed", "problem": ""},
    ]
    former = tmp_path / "former"
    shutil.copy(identity(own), former)
    assert login(own, "up", former).stdout == "up\n"

    with terminal(own, "vm", "ssh", "up") as screen:
        screen.expect(r"root@up:")
        done = own.run("key", "rotate")
        assert done.stderr == ""
        assert "up accepts it, and no former one" in done.stdout
        assert "down gets it at its next start" in done.stdout
        screen.type("echo still $((40 + 2))\r")
        screen.expect(r"still 42")
        screen.type("exit\r")
        screen.await_exit()

    after = own.json("key", "show")
    assert after["fingerprint"] != before["fingerprint"]
    listed = subprocess.run(
        ["ssh-keygen", "-l", "-f", str(identity(own))], capture_output=True, text=True, check=True
    )
    assert after["fingerprint"] in listed.stdout
    assert identity(own).stat().st_mode & 0o777 == 0o600
    assert blobs(own, "up") == [blob(OF_A_USER), blob(after["public_key"])]

    assert own.run("vm", "ssh", "up", "--", "hostname").stdout == "up\n"
    refused = login(own, "up", former)
    assert (refused.returncode, refused.stdout) == (255, "")
    assert "Permission denied" in refused.stderr
    assert login(own, "up", identity(own)).stdout == "up\n"

    own.run("vm", "start", "down")
    assert blobs(own, "down") == [blob(after["public_key"])]
    own.run("vm", "delete", "down")


@pytest.mark.parametrize(
    ("stage", "done"), [("prepare", False), ("announce", False), ("switch", True)]
)
def test_daemon_killed_half_way(own: Instance, stage: str, done: bool) -> None:
    before = own.json("key", "show")["public_key"]
    with own.connect() as connection:
        connection.begin(RotateKey(Fault(stage, hang=True)))
        successor = identity(own).with_name("id_ed25519.new")
        reached = {
            "prepare": successor.exists,
            "announce": lambda: len(ours(own)) == 2,
            "switch": lambda: blob(identity(own).with_suffix(".pub").read_text()) != blob(before),
        }
        wait_until(reached[stage], 20, "the hang")
        own.signal_daemon(signal.SIGKILL)
    after = own.json("key", "show")["public_key"]
    assert (after != before) is done
    wait_until(lambda: ours(own) == [blob(after)], 20, "the clean-up")
    assert not list(identity(own).parent.glob("*.new*"))
    assert blobs(own, "up")[0] == blob(OF_A_USER) or not done
    assert own.json("key", "show")["vms"][0]["status"] == "confirmed"


def ours(own: Instance) -> list[str]:
    return [found for found in blobs(own, "up") if found != blob(OF_A_USER)]


def test_a_failure_is_undone(own: Instance) -> None:
    before = own.json("key", "show")
    with own.connect() as connection, pytest.raises(BangerError, match="injected fault"):
        connection.call(RotateKey(Fault("announce")))
    assert own.json("key", "show") == before
    assert ours(own) == [blob(before["public_key"])]
    own.run("key", "rotate")
    assert ours(own) == [blob(own.json("key", "show")["public_key"])]


def test_a_guest_that_does_not_answer(own: Instance) -> None:
    pid = own.show("up")["pid"]
    former = own.json("key", "show")["public_key"]
    own.tool("kill", "-STOP", str(pid))
    try:
        view = own.json("key", "rotate", code=1)
        (found,) = view["vms"]
        assert found["status"] == "failed"
        assert found["problem"]
    finally:
        own.tool("kill", "-CONT", str(pid))
    assert view["public_key"] != former
    assert ours(own) == [blob(former)]
    assert own.json("key", "show")["vms"][0]["status"] == "outdated"
    own.run("vm", "wait", "up", "--for", "ssh", "--timeout", BOOT_S)
    assert own.run("vm", "ssh", "up", "--", "hostname").stdout == "up\n"
    assert ours(own) == [blob(view["public_key"])]
