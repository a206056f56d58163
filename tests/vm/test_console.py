"""``vm logs`` and ``vm wait``."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.vm.instance import Instance, wait_until


def test_the_console_is_kept(instance: Instance, box: str, way: str) -> None:
    instance.sh(box, "echo marker-0 >/dev/ttyS0")
    wait_until(lambda: "marker-0" in instance.run("vm", "logs", box).stdout, 5, "the marker")
    document = instance.json("vm", "logs", box)
    assert document["name"] == box
    assert "marker-0" in document["console"]
    # One that began in a seed was booted elsewhere.
    assert ("banger-init: agent ready" in document["console"]) == (way == "cold")


def test_followed_and_harmless(instance: Instance, box: str) -> None:
    follower = instance.start("vm", "logs", "-f", box)
    assert follower.stdout is not None
    instance.sh(box, r"printf 'evil \033]0;title\007 \x9b2J marker-1\n' >/dev/ttyS0")
    for line in follower.stdout:
        if b"marker-1" in line:
            break
    assert b"\x1b" not in line
    assert b"\x07" not in line
    assert b"\x1b]0;title\x07" in instance.run_bytes("vm", "logs", "--raw", box).stdout


@pytest.fixture
def fresh(instance: Instance) -> Iterator[str]:
    """A VM that has just been created."""
    instance.create("fresh")
    yield "fresh"
    if "fresh" in instance.names():
        instance.run("vm", "delete", "fresh")


def test_wait(instance: Instance, fresh: str) -> None:
    begun, pid = time.monotonic(), str(instance.show(fresh)["pid"])
    instance.tool("kill", "-STOP", pid)
    message = instance.error("vm", "wait", fresh, "--for", "ssh", "--timeout", "0.5", code=1)
    instance.tool("kill", "-CONT", pid)
    assert "is not ssh after 0.5 s" in message
    assert time.monotonic() - begun < 5
    assert instance.json("vm", "wait", fresh, "--for", "running")["state"] == "running"
    instance.error("vm", "wait", fresh, "--for", "stopped", "--timeout", "0.2", code=1)
    instance.error("vm", "wait", fresh, "--timeout", "0", code=2)
    instance.error("vm", "wait", fresh, "--timeout", "soon", code=2)
    instance.error("vm", "wait", fresh, "--for", "christmas", code=2)

    waiting = instance.start("vm", "wait", fresh, "--for", "stopped", "--json")
    follower = instance.start("vm", "logs", "-f", fresh)
    time.sleep(0.3)
    instance.run("vm", "stop", "--force", fresh)
    out, _ = waiting.communicate(timeout=10)
    assert waiting.returncode == 0
    assert b'"state": "stopped"' in out
    assert "will not run by itself" in instance.error("vm", "wait", fresh, code=4)

    # The console goes on with the next start, so a follower stays until the VM is gone.
    assert follower.poll() is None
    instance.run("vm", "delete", fresh)
    follower.communicate(timeout=10)
    assert follower.returncode in (0, 1)
